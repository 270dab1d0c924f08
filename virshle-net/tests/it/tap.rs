use virshle_net::{Change, Device, InterfaceName, NetError, Tap};
use virshle_testkit::NetNamespace;
use virshle_testkit_macros::test_on;

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

#[test_on(Root)]
fn root_a_tap_lives_as_long_as_its_descriptor() {
    let _namespace = NetNamespace::enter().unwrap();
    let tap0 = name("tap0");
    assert_eq!(Device::find(&tap0).unwrap(), None);
    let tap = Tap::create(&tap0).unwrap();
    tap.set_mtu(1400).unwrap();
    tap.set_mac("52:54:00:00:00:01".parse().unwrap()).unwrap();
    tap.set_up().unwrap();
    let device = Device::find(&tap0).unwrap().unwrap();
    assert_eq!((device.kind.as_str(), device.is_up, device.mtu_bytes), ("tun", true, 1400));
    assert_eq!(device.mac.unwrap().to_string(), "52:54:00:00:00:01");
    let held = tap.into_fds();
    assert!(Device::find(&tap0).unwrap().is_some());
    drop(held);
    assert_eq!(Device::find(&tap0).unwrap(), None);
}

#[test_on(Root)]
fn root_a_persistent_tap_stays_until_it_is_deleted() {
    let _namespace = NetNamespace::enter().unwrap();
    let tap0 = name("tap0");
    let tap = Tap::create(&tap0).unwrap();
    tap.persist().unwrap();
    tap.set_owner(1000).unwrap();
    Device::set_alias(&tap0, "virshle 42").unwrap();
    drop(tap);
    assert_eq!(Device::find(&tap0).unwrap().unwrap().alias, "virshle 42");
    assert_eq!(Tap::delete(&tap0).unwrap(), Change::Removed);
    assert_eq!(Tap::delete(&tap0).unwrap(), Change::Unchanged);
}

#[test_on(Root)]
fn root_a_tap_that_is_there_is_not_taken_over() {
    let _namespace = NetNamespace::enter().unwrap();
    let first = Tap::create(&name("tap0")).unwrap();
    first.persist().unwrap();
    let error = Tap::create(&name("tap0")).unwrap_err();
    assert!(matches!(error, NetError::CreateTap { .. }));
    assert_eq!(error.hint().unwrap(), "a device of that name exists already");
    let error = Tap::delete(&name("lo")).unwrap_err();
    assert_eq!(error.to_string(), "network device lo is not a tap");
    Tap::delete(&name("tap0")).unwrap();
    assert!(first.set_up().is_err());
}

#[test_on(Root)]
fn root_a_tap_can_have_several_queues() {
    let _namespace = NetNamespace::enter().unwrap();
    let tap = Tap::create_multi_queue(&name("tap0"), 3).unwrap();
    assert_eq!(tap.as_fds().len(), 3);
    tap.set_up().unwrap();
    drop(tap);
    assert_eq!(Device::find(&name("tap0")).unwrap(), None);
}
