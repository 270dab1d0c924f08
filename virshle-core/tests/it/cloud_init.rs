//! Seeds as cloud-init reads them: the real one, of Debian's package, in a root of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use virshle_core::{CreateRequest, Provision, Vm, VmName, read_user_data};
use virshle_testkit::CloudInitGuest;
use virshle_testkit_macros::test_on;

use crate::lab::Lab;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE7UyfmOAcsY5uvh3dOU7kHd9fVRrLJp5CqHYhSFBcd+ me@host";

/// A machine with a network whose addresses the template says, and one with DHCP.
const TEMPLATE: &str = r#"
[[template.vm]]
name = "net"
vcpu = 1
vram = "64MiB"
kernel = "{folder}/kernel"
[[template.vm.net]]
name = "main"
address = ["192.0.2.10/24", "2001:db8::10/64"]
gateway = ["192.0.2.1", "2001:db8::1"]
dns = ["192.0.2.53"]
mtu = 1400
[template.vm.net.type.tap]
[[template.vm.net]]
name = "no_name_of_a_kernel"
[template.vm.net.type.tap]
"#;

/// Creates a machine with `files` as its user data, and lets cloud-init read it.
fn boot(lab: &Lab, files: &[(&str, &str)]) -> (Vm, CloudInitGuest) {
    let data = files.iter().map(|(name, text)| {
        fs::write(lab.path(name), text).unwrap();
        read_user_data(&lab.path(name)).unwrap_or_else(|error| panic!("{error}"))
    });
    let request = CreateRequest::new("net")
        .name("buzz_matala".parse::<VmName>().unwrap())
        .provision(Provision::With(data.collect()));
    let vm = lab.node.create(&request, &|_| {}).unwrap().remove(0).result.unwrap();
    let macs: Vec<String> = vm.definition().nets.iter().map(|net| net.mac.to_string()).collect();
    let macs: Vec<&str> = macs.iter().map(String::as_str).collect();
    let guest = CloudInitGuest::boot(&vm.disk("seed"), &macs).unwrap_or_else(|e| panic!("{e}"));
    assert!(guest.text("var/log/found.cfg").contains("NoCloud"));
    let result: Value =
        serde_json::from_str(&guest.text("var/lib/cloud/data/result.json")).unwrap();
    let source = result["v1"]["datasource"].as_str().unwrap();
    assert!(source.starts_with("DataSourceNoCloud [seed=/dev/"), "{source}");
    assert_eq!(result["v1"]["errors"], serde_json::json!([]));
    let id = guest.text("var/lib/cloud/data/instance-id");
    assert_eq!(id.trim(), vm.definition().uuid.to_string());
    (vm, guest)
}

/// The lines of a file without the empty ones.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test_on(Root, CloudInit)]
fn root_cloud_init_does_what_our_own_keys_ask_for() {
    let lab = Lab::new(TEMPLATE);
    let me = format!(
        "hostname = \"web.example.org\"\ntimezone = \"Europe/Athens\"\n\
         commands = [\"echo \\\"it's büro\\\" >/var/done\"]\n\
         [[user]]\nname = \"ada\"\ngroups = [\"adm\"]\nssh.authorized_keys = ['{KEY}']\n\
         [[user]]\nname = \"bob\"\nsudo = false\nshell = \"/bin/bash\"\npassword_hash = \"$6$x$y\"\n\
         [[user]]\nname = \"root\"\nssh.authorized_keys = ['{KEY}']\n"
    );
    let (vm, guest) = boot(&lab, &[("me.toml", &me)]);
    assert_eq!(vm.ssh_user(), Some("ada"));
    assert_eq!(guest.text("etc/hostname"), "web\n");
    assert_eq!(guest.text("var/done"), "it's büro\n");
    assert!(fs::read_link(guest.path("etc/localtime")).unwrap().ends_with("Europe/Athens"));
    for home in ["home/ada", "root"] {
        assert_eq!(lines(&guest.text(&format!("{home}/.ssh/authorized_keys"))), [KEY], "{home}");
    }
    // The guest has the key by which it is known here, and no other that a server would show.
    let key = guest.text("etc/ssh/ssh_host_ed25519_key.pub");
    let known = fs::read_to_string(vm.known_hosts()).unwrap();
    assert!(known.contains(key.trim()) && key.starts_with("ssh-ed25519 "), "{known} {key}");
    let private = guest.path("etc/ssh/ssh_host_ed25519_key");
    let public = Command::new("ssh-keygen").args(["-y", "-f"]).arg(&private).output().unwrap();
    assert!(String::from_utf8_lossy(&public.stdout).starts_with(key.trim()), "{public:?}");
    assert_eq!(fs::metadata(private).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!guest.path("etc/ssh/ssh_host_rsa_key").exists());
    let passwd = guest.text("etc/passwd");
    assert!(passwd.contains("\nada:x:1000:1000::/home/ada:/bin/sh\n"), "{passwd}");
    assert!(passwd.contains("\nbob:x:1001:1001::/home/bob:/bin/bash\n"), "{passwd}");
    let shadow = guest.text("etc/shadow");
    assert!(shadow.contains("\nada:!:") && shadow.contains("\nbob:$6$x$y:"), "{shadow}");
    assert!(guest.text("etc/group").contains("\nadm:*:4:ada\n"));
    let sudoers = guest.text("etc/sudoers.d/90-cloud-init-users");
    assert_eq!(lines(&sudoers), ["ada ALL=(ALL) NOPASSWD:ALL"]);
    let mode = fs::metadata(guest.path("home/ada/.ssh/authorized_keys")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[test_on(Root, CloudInit)]
fn root_cloud_init_takes_all_three_kinds_at_once_and_the_addresses() {
    let lab = Lab::new(TEMPLATE);
    let me = format!("[[user]]\nname = \"ada\"\nssh.authorized_keys = ['{KEY}']\n");
    let files = [
        ("me.toml", me.as_str()),
        ("more.yaml", "#cloud-config\nwrite_files:\n  - path: /var/written\n    content: büro\n"),
        ("last.sh", "#!/bin/sh\ncat /var/written >/var/script\n"),
    ];
    let (vm, guest) = boot(&lab, &files);
    // Names of machines may have what names of hosts have not.
    assert_eq!(guest.text("etc/hostname"), "buzz-matala\n");
    assert_eq!(lines(&guest.text("home/ada/.ssh/authorized_keys")), [KEY]);
    assert_eq!(guest.text("var/written"), "büro");
    assert_eq!(guest.text("var/script"), "büro");
    // Beside several files of the user's the key is there, too.
    let key = guest.text("etc/ssh/ssh_host_ed25519_key.pub");
    assert!(fs::read_to_string(vm.known_hosts()).unwrap().contains(key.trim()) && !key.is_empty());
    // By its own means it writes for systemd-networkd here, in an order of its own.
    let network = |name: &str| {
        let text = guest.text(&format!("etc/systemd/network/10-cloud-init-{name}.network"));
        let mut lines: Vec<String> = lines(&text).into_iter().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    let main = network("eth0");
    for line in [
        &format!("MACAddress={}", vm.definition().nets[0].mac),
        "Address=192.0.2.10/24",
        "Address=2001:db8::10/64",
        "Gateway=192.0.2.1",
        "Gateway=2001:db8::1",
        "DNS=192.0.2.53",
        "MTUBytes=1400",
        "DHCP=no",
    ] {
        assert!(main.iter().any(|found| found == line), "{line}: {main:?}");
    }
    let other = network("eth1");
    assert!(other.contains(&format!("MACAddress={}", vm.definition().nets[1].mac)), "{other:?}");
    assert!(other.contains(&"DHCP=ipv4".to_owned()), "{other:?}");
}
