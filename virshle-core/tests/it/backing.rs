//! What a definition, or a disk's header, names is not believed because it stands there: a VMM can write
//! the header, and anyone may have written the definition of a machine that was copied.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use virshle_core::disk::DiskError;
use virshle_core::{CreateError, CreateRequest, Force, HardwareError, Level, StartError, Vm};
use virshle_testkit_macros::test_on;

use crate::lab::{DISK, LEAST, Lab, patient};

fn overlay() -> Lab {
    Lab::new(&DISK.replace("name = \"os\"", "name = \"os\"\nclone = \"overlay\""))
}

/// Does to the header of the qcow2 `path` what a VMM does that its guest has taken over: another
/// backing file, of no longer a name.
fn rewrite(path: &Path, named: &str) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut header = [0; 24];
    file.read_exact_at(&mut header, 0).unwrap();
    let at = u64::from_be_bytes(header[8..16].try_into().unwrap());
    file.write_all_at(named.as_bytes(), at).unwrap();
    let length = u32::try_from(named.len()).unwrap();
    file.write_all_at(&length.to_be_bytes(), 16).unwrap();
}

/// The start is refused, and `v node check` tells why.
#[track_caller]
fn refused(lab: &Lab, vm: &Vm, message: &str) {
    let error = vm.start(&patient()).unwrap_err();
    let StartError::Hardware(inner @ HardwareError::OtherBackingFile { .. }) = &error else {
        panic!("{error:?}")
    };
    assert!(inner.to_string().contains(message), "{inner}");
    let found = lab.node.check().unwrap().findings;
    let found = found.iter().find(|finding| finding.subject == "disk").unwrap();
    assert!(found.message.contains(message) && found.level == Level::Missing, "{found:?}");
}

#[test_on(Ch, Kvm)]
fn ch_an_overlay_that_names_another_file_since_is_not_started() {
    let lab = overlay();
    let vm = lab.create("xs");
    let image = lab.path("image.raw").canonicalize().unwrap();
    assert_eq!(vm.definition().disks[0].backing, std::slice::from_ref(&image));
    let text = fs::read_to_string(vm.directory().join("vm.toml")).unwrap();
    assert!(text.contains(&format!("backing = [{image:?}]")), "{text}");
    rewrite(&vm.disk("os"), "/etc/shadow");
    refused(&lab, &vm, "has the backing file /etc/shadow, and was created on ");
    assert!(vm.command_line().is_err());
    // As a machine has it that an earlier version created.
    fs::write(
        vm.directory().join("vm.toml"),
        text.replace(&format!("backing = [{image:?}]\n"), ""),
    )
    .unwrap();
    let older = lab.node.vm(vm.definition().uuid).unwrap();
    assert!(older.definition().disks[0].backing.is_empty());
    refused(&lab, &older, "/etc/shadow");
    rewrite(&vm.disk("os"), image.to_str().unwrap());
    assert!(lab.node.check().unwrap().findings.iter().all(|finding| finding.subject != "disk"));
    for vm in [&older, &vm] {
        vm.start(&patient()).unwrap();
        vm.stop(&virshle_core::StopRequest::force()).unwrap();
    }
}

#[test_on(Ch, Kvm, QemuImg)]
fn ch_a_qcow2_of_its_own_that_gets_a_backing_file_is_not_started() {
    let lab = Lab::new(&DISK.replace("image.raw", "image.qcow2"));
    let image = lab.path("image.qcow2");
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]).arg(&image).arg("1M");
    assert!(command.status().unwrap().success());
    let vm = lab.create("xs");
    assert!(vm.definition().disks[0].backing.is_empty());
    // Behind the header, within its cluster.
    let file = File::options().write(true).open(vm.disk("os")).unwrap();
    file.write_all_at(&4096_u64.to_be_bytes(), 8).unwrap();
    rewrite(&vm.disk("os"), "/etc/shadow");
    refused(&lab, &vm, "has the backing file /etc/shadow, and was created on none");
}

#[test_on(QemuImg)]
fn an_image_with_a_backing_file_that_no_one_named_is_no_machines() {
    for clone in ["auto", "copy", "overlay"] {
        let lab = Lab::new(&DISK.replace(
            "path = \"{folder}/image.raw\"",
            &format!("path = \"{{folder}}/top.qcow2\"\nclone = \"{clone}\""),
        ));
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow"]);
        assert!(command.arg(lab.path("top.qcow2")).arg("1M").status().unwrap().success());
        let made = lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap().remove(0).result;
        let error = made.unwrap_err();
        let CreateError::Disk { source: DiskError::HasBackingFile { backing, .. }, .. } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(backing, Path::new("/etc/shadow"));
        let hint = virshle_core::Failure::hint(&error).unwrap();
        assert!(!hint.contains("overlay"), "{hint}");
        assert!(lab.machine_folders().is_empty());
    }
}

#[test_on(Ch, Kvm)]
fn ch_a_disk_that_is_another_file_is_not_started_on() {
    let lab = Lab::new(DISK);
    let vm = lab.create("xs");
    let (disk, victim) = (vm.disk("os"), lab.path("victim"));
    fs::write(&victim, vec![1; 1 << 20]).unwrap();
    let fifo = |disk: &Path| {
        let kind = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, disk, kind, mode, 0).unwrap();
    };
    let links: [&dyn Fn(&Path); 3] = [
        &|disk| std::os::unix::fs::symlink(&victim, disk).unwrap(),
        &|disk| fs::hard_link(&victim, disk).unwrap(),
        &fifo,
    ];
    for put in links {
        fs::remove_file(&disk).unwrap();
        put(&disk);
        let error = vm.start(&patient()).unwrap_err();
        let StartError::MissingFile { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test_on(Ch, Kvm)]
fn ch_a_definition_that_names_a_device_of_the_hosts_does_not_get_at_it() {
    for kind in ["tap", "vhost", "macvtap"] {
        let link = if kind == "macvtap" { "link = \"lo\"\n" } else { "" };
        let net = format!("[[template.vm.net]]\nname = \"main\"\n{link}type = \"{kind}\"\n");
        let lab = Lab::new(&format!("{LEAST}{net}"));
        let vm = lab.create("xs");
        let path = vm.directory().join("vm.toml");
        let text = fs::read_to_string(&path).unwrap();
        let own = format!("port = {:?}", vm.definition().nets[0].port);
        assert!(text.contains(&own), "{text}");
        for port in ["lo", "vm99-main", "../../kernel"] {
            fs::write(&path, text.replace(&own, &format!("port = {port:?}"))).unwrap();
            let vm = lab.node.vm(vm.definition().uuid).unwrap();
            let error = vm.start(&patient()).unwrap_err();
            let foreign = matches!(
                &error,
                StartError::Hardware(HardwareError::ForeignPort { port: named, .. }) if named == port
            );
            assert!(foreign, "{kind} {port}: {error:?}");
        }
        vm.remove(Force::No).unwrap();
    }
}

#[test_on(QemuImg)]
fn a_version_that_destroys_compressed_disks_is_told_of_before_one_is_created() {
    let image = "path = \"{folder}/packed.qcow2\"";
    let lab = Lab::new(&DISK.replace("path = \"{folder}/image.raw\"", image));
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-c", "-O", "qcow2"]);
    command.args([lab.path("image.raw"), lab.path("packed.qcow2")]);
    assert!(command.status().unwrap().success());
    for (version, level) in [("52.0", Some(Level::Warning)), ("53.0", None)] {
        let program = lab.path("ch");
        fs::write(&program, format!("#!/bin/sh\nexec echo cloud-hypervisor v{version}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = lab.node.config().clone();
        config.hypervisor.program = program;
        let node = virshle_core::Node::new(config, Some(&lab.path("root")));
        let found = node.check().unwrap().findings;
        let found = found.iter().find(|finding| finding.message.contains("packed.qcow2"));
        assert_eq!(found.map(|finding| finding.level), level, "{found:?}");
        lab.create("xs");
        let found = node.check().unwrap().findings;
        let disk = found.iter().find(|finding| finding.subject == "disk");
        assert_eq!(disk.map(|finding| finding.level), level.map(|_| Level::Missing), "{found:?}");
    }
}
