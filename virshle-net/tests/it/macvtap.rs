use std::os::fd::AsFd;
use std::process::Command;

use virshle_net::{Change, Device, InterfaceName, Macvtap, NetError, Tap};
use virshle_testkit::NetNamespace;
use virshle_testkit_macros::test_on;

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn kernel_has_macvtap() -> bool {
    let made = Command::new("ip")
        .args(["link", "add", "link", "tap0", "name", "probe", "type", "macvtap", "mode", "bridge"])
        .output();
    made.is_ok_and(|made| made.status.success())
        && Macvtap::delete(&name("probe")).unwrap() == Change::Removed
}

#[test_on(Root)]
fn root_a_macvtap_is_created_or_its_absence_reported() {
    let _namespace = NetNamespace::enter().unwrap();
    let lower = Tap::create(&name("tap0")).unwrap();
    lower.set_up().unwrap();
    let mac = "52:54:00:00:00:07".parse().unwrap();
    let made = Macvtap::create(&name("mv0"), "tap0", mac);
    if !kernel_has_macvtap() {
        eprintln!("skipped: needs macvtap in this kernel");
        let error = made.unwrap_err();
        assert_eq!(error.to_string(), "cannot create macvtap mv0 on tap0");
        assert!(error.hint().unwrap().contains("modprobe macvtap"));
        assert_eq!(Device::find(&name("mv0")).unwrap(), None);
        return;
    }
    let macvtap = made.unwrap();
    let device = Device::find(&name("mv0")).unwrap().unwrap();
    assert_eq!((device.kind.as_str(), device.is_up, device.mac), ("macvtap", true, Some(mac)));
    assert!(macvtap.as_fd().try_clone_to_owned().is_ok());
    assert!(matches!(
        Macvtap::create(&name("mv0"), "tap0", mac),
        Err(NetError::CreateMacvtap { .. })
    ));
    assert_eq!(Macvtap::delete(&name("mv0")).unwrap(), Change::Removed);
    assert_eq!(Macvtap::delete(&name("mv0")).unwrap(), Change::Unchanged);
}

#[test_on(Root)]
fn root_a_macvtap_needs_its_lower_device() {
    let _namespace = NetNamespace::enter().unwrap();
    let mac = "52:54:00:00:00:07".parse().unwrap();
    let error = Macvtap::create(&name("mv0"), "eth7", mac).unwrap_err();
    assert_eq!(error.to_string(), "cannot create macvtap mv0 on eth7");
    assert!(matches!(Macvtap::delete(&name("lo")), Err(NetError::DeviceKind { .. })));
}
