//! Importing a packed image, beside the program that unpacks it: to a file on the same filesystem.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use virshle_testkit::{Part, has};

use crate::options::Options;
use crate::parts::{needs, node};
use crate::program;
use crate::report::{Budget, Report};
use crate::sample::side_by_side;
use virshle_testkit::{Failure, While};

/// The size of the image, in MiB; with `--quick`.
const MIB: (usize, usize) = (1024, 192);

/// How it is called; the packer and the unpacker, each with its arguments; the budget.
type Packed = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
    f64,
);

/// How it is packed, with what, and unpacked beside `v`; the budget, which is for all of an import:
/// `v` also syncs, and finds the zeros.
const PACKED: [Packed; 5] = [
    ("xz, blocks", "xz", &["-T0", "-1", "--block-size=8MiB"], "xz", &["-dkc", "-T0"], 1.2),
    ("xz, one block", "xz", &["-T1", "-1"], "xz", &["-dkc"], 1.5),
    ("zstd", "zstd", &["-q", "-3"], "zstd", &["-q", "-dkc"], 1.0),
    ("gzip", "gzip", &["-1"], "gzip", &["-dkc"], 1.0),
    ("qcow2", "qemu-img", &[], "qemu-img", &[], 1.0),
];

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    let parts = [(Part::Packers, "gzip, xz and zstd"), (Part::QemuImg, "qemu-img")];
    if !needs(report, "unpack", &parts) || !has(Part::Packers) {
        return Ok(());
    }
    let node = node(options)?;
    let home = &node.home;
    let whole = home.directory().join("whole.img");
    image(&whole, if options.quick { MIB.1 } else { MIB.0 })?;
    for (name, packer, pack, unpacker, unpack, times) in PACKED {
        let packed = home.directory().join("packed");
        if packer == "qemu-img" {
            let arguments = ["convert", "-c", "-f", "raw", "-O", "qcow2"];
            program::output(Command::new(packer).args(arguments).arg(&whole).arg(&packed))?;
        } else {
            let file = File::create(&packed).doing(|| "cannot pack".to_owned())?;
            program::output(Command::new(packer).args(pack).arg("-c").arg(&whole).stdout(file))?;
        }
        let unpacked = home.directory().join("unpacked");
        let import = ["image", "import", &packed.display().to_string(), "--name", "one"];
        let samples = side_by_side(
            options.rounds(5),
            &mut [
                Box::new(|_| {
                    let took = home.time(&import)?;
                    home.v(&["image", "rm", "one"])?;
                    Ok(took)
                }),
                Box::new(|_| {
                    let mut command = if unpacker == "qemu-img" {
                        let mut command = Command::new(unpacker);
                        command.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(&packed);
                        command
                    } else {
                        let mut command = Command::new("sh");
                        let script = format!("exec {unpacker} {} \"$0\" >\"$1\"", unpack.join(" "));
                        command.args(["-c", &script]).arg(&packed);
                        command
                    };
                    command.arg(&unpacked);
                    let took = program::time(&mut command)?;
                    fs::remove_file(&unpacked).doing(|| "cannot remove".to_owned())?;
                    Ok(took)
                }),
            ],
        )?;
        let what = format!("v image import, {name}; {unpacker}");
        report.line(&what, &samples[0], &samples[1], Budget::Times(times));
        fs::remove_file(&packed).doing(|| "cannot remove".to_owned())?;
    }
    Ok(())
}

/// An image as a distribution's is: a third of zeros, a third that can hardly be packed, and text.
fn image(path: &Path, mib: usize) -> Result<(), Failure> {
    let failed = || format!("cannot make {}", path.display());
    let mut file = BufWriter::new(File::create(path).doing(failed)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for at in 0..mib {
        let mut piece = vec![0; 1 << 20];
        if at % 3 > 0 {
            // Words of a byte's width, of which there are 256 or 16.
            let mask = if at % 3 == 1 { 0xff } else { 0x0f };
            for byte in &mut piece {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state.to_le_bytes()[3] & mask;
            }
        }
        file.write_all(&piece).doing(failed)?;
    }
    file.flush().doing(failed)
}
