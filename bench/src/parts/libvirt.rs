//! The same by libvirt: 1,000 machines listed, one defined, one cloned.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use virshle_testkit::{LoopFilesystem, Part};

use crate::home::Home;
use crate::options::Options;
use crate::parts::{needs, v};
use crate::program;
use crate::report::{Budget, Report};
use crate::sample::{Sample, side_by_side};
use virshle_testkit::{Failure, While, ensure};

const COUNT: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

/// A libvirtd that keeps everything below `$0`: in namespaces of its own, its directories and the
/// accounts that it insists on are others.
const PRIVATE: &str = r#"
set -e
cd "$0"
for directory in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run/libvirt; do
    mkdir -p "$directory" "$0/over$directory"
    mount --bind "$0/over$directory" "$directory"
done
for file in passwd group; do
    cp "/etc/$file" "$0/$file"
done
echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin' >>passwd
echo 'libvirt-qemu:x:64055:' >>group
mount --bind "$0/passwd" /etc/passwd
mount --bind "$0/group" /etc/group
printf 'user = "root"\ngroup = "root"\nremember_owner = 0\n' >/etc/libvirt/qemu.conf
printf 'unix_sock_dir = "%s"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n' "$0" >libvirtd.conf
exec libvirtd -f "$0/libvirtd.conf" -p "$0/pid" >"$0/log" 2>&1
"#;

/// A libvirt of its own; it ends when this is dropped.
#[derive(Debug)]
struct Libvirt {
    daemon: Child,
    directory: PathBuf,
}

impl Libvirt {
    fn start(directory: &Path) -> Result<Self, Failure> {
        let failed = || "cannot start libvirtd".to_owned();
        fs::create_dir(directory).doing(failed)?;
        let daemon = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "sh", "-c", PRIVATE])
            .arg(directory)
            .stdin(Stdio::null())
            .spawn()
            .doing(failed)?;
        let libvirt = Self { daemon, directory: directory.to_owned() };
        let deadline = Instant::now() + PATIENCE;
        // It says nothing when it is ready; its first start looks at what QEMU can do.
        while libvirt.virsh(&["list"]).is_err() {
            ensure!(Instant::now() < deadline, "libvirtd did not come up: {}", libvirt.log());
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(libvirt)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn address(&self) -> String {
        format!("qemu:///system?socket={}", self.directory.join("libvirt-sock").display())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("virsh");
        command.args(["--quiet", "--connect", &self.address()]).args(args);
        command.stderr(Stdio::null());
        command
    }

    fn virsh(&self, args: &[&str]) -> Result<String, Failure> {
        program::output(&mut self.command(args))
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    if !needs(report, "libvirt", &[(Part::Reflink, "XFS on a loop device, root")]) {
        return Ok(());
    }
    let programs = ["libvirtd", "virsh", "qemu-system-x86_64", "unshare"];
    let missing: Vec<&str> = programs.into_iter().filter(|name| !program::exists(name)).collect();
    if !missing.is_empty() {
        report.skip("libvirt", &format!("needs {}", missing.join(", ")));
        return Ok(());
    }
    let filesystem = LoopFilesystem::xfs(200 << 30).doing(|| "cannot make XFS".to_owned())?;
    let home = Home::make(&filesystem.path(), &v(options)?, None)?;
    let pool = home.directory().join("pool");
    fs::create_dir(&pool).doing(|| "cannot make a directory".to_owned())?;
    image(&home, &pool)?;
    let libvirt = Libvirt::start(&home.directory().join("libvirt"))?;
    libvirt.virsh(&["pool-create-as", "pool", "dir", "--target", &pool.display().to_string()])?;

    clone(&home, &libvirt, &pool, options, report)?;
    home.create("bare", COUNT)?;
    for number in 0..COUNT {
        let path = domain(home.directory(), &format!("d{number}"), "")?;
        libvirt.virsh(&["define", &path.display().to_string()])?;
    }
    let definition = domain(home.directory(), "new", "")?.display().to_string();
    let samples = side_by_side(
        options.rounds(15),
        &mut [
            Box::new(|_| home.time(&["vm", "ls"])),
            Box::new(|_| program::time(&mut libvirt.command(&["list", "--all"]))),
            Box::new(|_| {
                let took = home.time(&["vm", "create", "-t", "bare", "--name", "new"])?;
                home.v(&["vm", "rm", "new"])?;
                Ok(took)
            }),
            Box::new(|_| {
                let took = program::time(&mut libvirt.command(&["define", &definition]))?;
                libvirt.virsh(&["undefine", "new"])?;
                Ok(took)
            }),
        ],
    )?;
    pair(report, ["v vm ls, 1000 machines", "virsh list --all"], &samples[..2]);
    pair(report, ["v vm create, no disk, 1000 there", "virsh define"], &samples[2..]);
    Ok(())
}

fn pair(report: &Report, [what, other]: [&str; 2], samples: &[Sample]) {
    report.line(&format!("{what}; {other}"), &samples[0], &samples[1], Budget::None);
    report.other(other, &samples[1], &samples[0]);
}

/// The image that both clone: 10 GiB, with data in 400 places.
fn image(home: &Home, pool: &Path) -> Result<(), Failure> {
    let failed = || "cannot make an image".to_owned();
    let path = pool.join("image.raw");
    let file = File::create(&path).doing(failed)?;
    file.set_len(10 << 30).doing(failed)?;
    for place in 0..400_u64 {
        file.write_all_at(&[b'x'; 64 << 10], place * (25 << 20)).doing(failed)?;
    }
    file.sync_all().doing(failed)?;
    fs::hard_link(&path, home.directory().join("image.raw")).doing(failed)
}

/// The definition of a machine, in a file.
fn domain(directory: &Path, name: &str, devices: &str) -> Result<PathBuf, Failure> {
    let path = directory.join(format!("{name}.xml"));
    let text = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64'>hvm</type></os><devices>{devices}</devices></domain>"
    );
    fs::write(&path, text).doing(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn clone(
    home: &Home,
    libvirt: &Libvirt,
    pool: &Path,
    options: &Options,
    report: &Report,
) -> Result<(), Failure> {
    let rounds = options.rounds(9);
    libvirt.virsh(&["pool-refresh", "pool"])?;
    let samples = side_by_side(
        rounds,
        &mut [
            Box::new(|_| make(home)),
            Box::new(|_| {
                let args = ["vol-clone", "--pool", "pool", "image.raw", "copy.raw", "--reflink"];
                let took = program::time(&mut libvirt.command(&args))?;
                libvirt.virsh(&["vol-delete", "--pool", "pool", "copy.raw"])?;
                Ok(took)
            }),
        ],
    )?;
    pair(report, ["v vm create, reflink, XFS", "virsh vol-clone --reflink"], &samples);
    if !program::exists("virt-clone") {
        report.skip("virt-clone", "needs virtinst");
        return Ok(());
    }
    let image = pool.join("image.raw");
    let disk = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/>\
         <target dev='vda' bus='virtio'/></disk>",
        image.display()
    );
    libvirt
        .virsh(&["define", &domain(home.directory(), "original", &disk)?.display().to_string()])?;
    let copy = pool.join("cloned.raw");
    let samples = side_by_side(
        rounds.min(5),
        &mut [
            Box::new(|_| make(home)),
            Box::new(|_| {
                let mut clone = Command::new("virt-clone");
                clone.args(["--quiet", "--connect", &libvirt.address(), "--original", "original"]);
                clone.args(["--name", "cloned", "--reflink", "--file"]).arg(&copy);
                let took = program::time(&mut clone)?;
                libvirt.virsh(&["undefine", "cloned"])?;
                fs::remove_file(&copy).doing(|| "cannot remove a copy".to_owned())?;
                libvirt.virsh(&["pool-refresh", "pool"])?;
                Ok(took)
            }),
        ],
    )?;
    pair(report, ["v vm create, reflink, XFS", "virt-clone --reflink"], &samples);
    libvirt.virsh(&["undefine", "original"]).map(drop)
}

fn make(home: &Home) -> Result<Duration, Failure> {
    let took = home.time(&["vm", "create", "-t", "image", "--name", "one", "--no-user-data"])?;
    home.v(&["vm", "rm", "one"])?;
    Ok(took)
}
