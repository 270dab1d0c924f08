//! `v net capture`: shows the frames of a machine, or writes them to a file.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use virshle_core::NetCapture;
use virshle_core::net::{FrameTerm, FrameWords};

use crate::candidates;
use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The machine; MACHINE/NET for another interface than its first
    #[arg(add = candidates::names())]
    machine: String,
    /// Only frames that fit all of these: arp, ip, ip6, icmp, tcp, udp, dhcp, port N, host ADDRESS,
    /// ether ADDRESS, each perhaps behind `not`
    #[arg(value_name = "FILTER", trailing_var_arg = true)]
    filter: Vec<String>,
    /// Write the frames to a file, as tcpdump and Wireshark read it; `-` is the standard output
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// End after this many frames
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Where the frames go.
enum Sink {
    Lines,
    Pcap(Box<dyn Write>),
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    context.text_only("v net capture")?;
    let terms = FrameTerm::read_all(args.filter.iter().map(String::as_str))
        .map_err(|source| CliError::Filter { source })?;
    let node = context.node()?;
    let signals = signals().map_err(|source| CliError::Capture { source })?;
    let mut capture = node.capture(&args.machine)?;
    let mut sink = open(args)?;
    context.output.note(&escape(&format!(
        "capturing at port {} of machine {}; Ctrl-C ends it",
        capture.port, capture.vm
    )));
    let most = args.count.unwrap_or(u64::MAX);
    let taken = follow(&mut capture, &signals, &terms, most, &mut sink, context);
    let flushed = match &mut sink {
        Sink::Pcap(file) => file.flush(),
        Sink::Lines => Ok(()),
    };
    // First of all the mirror goes; then what failed is reported.
    let ended = capture.end();
    let taken = taken.map_err(|source| CliError::Capture { source })?;
    flushed.map_err(|source| CliError::Capture { source })?;
    ended?;
    context.output.note(&format!("{taken} frames"));
    Ok(())
}

/// What is readable when a signal has come that is to end this.
fn signals() -> io::Result<UnixStream> {
    let (reader, sender) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
    }
    Ok(reader)
}

fn open(args: &Args) -> Result<Sink, CliError> {
    let Some(path) = &args.pcap else { return Ok(Sink::Lines) };
    let mut file: Box<dyn Write> = if path.as_os_str() == "-" {
        Box::new(BufWriter::new(io::stdout()))
    } else {
        // What a guest says is not everybody's.
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let opened = options.open(path);
        Box::new(BufWriter::new(
            opened.map_err(|source| CliError::Pcap { path: path.clone(), source })?,
        ))
    };
    file.write_all(&pcap_head()).map_err(|source| CliError::Capture { source })?;
    Ok(Sink::Pcap(file))
}

/// Takes frames until a signal comes, the machine ends, or there were enough; how many there were.
fn follow(
    capture: &mut NetCapture,
    signals: &UnixStream,
    terms: &[FrameTerm],
    most: u64,
    sink: &mut Sink,
    context: &Context,
) -> io::Result<u64> {
    let mut taken = 0;
    while taken < most {
        let ended = {
            let Some([frames, vmm]) = capture.descriptors() else { return Ok(taken) };
            let mut watched = [frames, vmm, signals.as_fd()]
                .map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN));
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result.map(drop)?,
            }
            watched[1..].iter().any(|source| !source.revents().is_empty())
        };
        let mut any = false;
        while taken < most {
            let Some(frame) = capture.next_frame()? else { break };
            any = true;
            let words = FrameWords::read(frame);
            let fits = |term: &FrameTerm| words.as_ref().is_some_and(|words| term.fits(words));
            if !terms.iter().all(fits) {
                continue;
            }
            taken += 1;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            match (&mut *sink, words) {
                (Sink::Pcap(file), _) => {
                    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                    let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
                    for number in [seconds, now.subsec_micros(), length, length] {
                        file.write_all(&number.to_le_bytes())?;
                    }
                    file.write_all(frame)?;
                }
                (Sink::Lines, Some(words)) => {
                    let (seconds, micros) = (now.as_secs() % 86_400, now.subsec_micros());
                    let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
                    let time = format!("{hour:02}:{minute:02}:{:02}.{micros:06}", seconds % 60);
                    if !context.output.bytes(format!("{time} {words}\n").as_bytes()) {
                        return Ok(taken);
                    }
                }
                (Sink::Lines, None) => {}
            }
        }
        if let (Sink::Pcap(file), true) = (&mut *sink, any) {
            file.flush()?;
        }
        if ended {
            break;
        }
    }
    Ok(taken)
}

/// The head of a file of frames: of libpcap's format, in microseconds, of Ethernet.
fn pcap_head() -> [u8; 24] {
    let mut head = [0; 24];
    let numbers = [(0, 0xa1b2_c3d4_u32), (16, 1 << 18), (20, 1)];
    for (at, number) in numbers {
        head[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    head[4..8].copy_from_slice(&[2, 0, 4, 0]);
    head
}
