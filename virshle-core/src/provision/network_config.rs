//! The file `network-config` of a seed.
//!
//! It has many readers: cloud-init of ten years, which leaves it to netplan, or renders it itself for
//! ifupdown, NetworkManager, systemd-networkd or sysconfig. What is written here is what all of them
//! read alike; the tests ask each.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use virshle_template::{NetTemplate, VmTemplate};

use crate::model::definition::NetDefinition;

/// The file `network-config`: an interface is known by its address, as guests name it as they
/// please.
pub(super) fn network_config(template: &VmTemplate, nets: &[NetDefinition]) -> Value {
    let mut ethernets = Map::new();
    for (place, net) in nets.iter().enumerate() {
        let mut ethernet = Map::new();
        ethernet.insert("match".into(), json!({ "macaddress": net.mac.to_string() }));
        if net.addresses.is_empty() {
            ethernet.insert("dhcp4".into(), json!(true));
        } else {
            // Routes go to the family of the first address with NetworkManager, in cloud-init of
            // before 23.2; and the ones below are of IPv4.
            let mut addresses = net.addresses.clone();
            addresses.sort_by_key(|address| address.ip.is_ipv6());
            ethernet.insert("addresses".into(), json!(addresses));
        }
        // One that the template does not name asks for nothing.
        if let Some(wanted) = template.nets.get(place) {
            for gateway in &wanted.gateways {
                insert_gateway(&mut ethernet, wanted, *gateway);
            }
            if !wanted.dns.is_empty() {
                ethernet.insert("nameservers".into(), json!({ "addresses": wanted.dns }));
            }
        }
        if let Some(mtu) = net.mtu_bytes {
            ethernet.insert("mtu".into(), json!(mtu));
        }
        ethernets.insert(net.name.clone(), Value::Object(ethernet));
    }
    json!({ "version": 2, "ethernets": ethernets })
}

/// Writes the default route by `gateway`.
fn insert_gateway(ethernet: &mut Map<String, Value>, net: &NetTemplate, gateway: IpAddr) {
    let is_covered = net.addresses.iter().any(|address| address.covers(gateway));
    let route = match (gateway, is_covered) {
        (IpAddr::V4(_), true) => Some(json!({ "to": "0.0.0.0/0", "via": gateway.to_string() })),
        // The kernel takes no gateway that nothing covers: a route without a gateway does, to the router
        // alone. "On the link" has no word that all readers know, and "via nobody" they all write down;
        // to networkd, NetworkManager and the kernel it is the same.
        (IpAddr::V4(_), false) => Some(json!({ "to": format!("{gateway}/32"), "via": "0.0.0.0" })),
        (IpAddr::V6(_), false) => Some(json!({ "to": format!("{gateway}/128"), "via": "::" })),
        (IpAddr::V6(_), true) => None,
    };
    if let Some(route) = route {
        let routes = ethernet.entry("routes").or_insert_with(|| json!([]));
        if let Some(routes) = routes.as_array_mut() {
            routes.push(route);
        }
    }
    // Also where these are deprecated they are understood. Of a route to ::/0 cloud-init of before 24.1
    // makes one to ::/64, but for netplan; and a default route that ifupdown is to make it takes for one on
    // the link only if it is given as the gateway.
    match gateway {
        IpAddr::V4(_) if is_covered => {}
        IpAddr::V4(_) => drop(ethernet.insert("gateway4".into(), json!(gateway.to_string()))),
        IpAddr::V6(_) => drop(ethernet.insert("gateway6".into(), json!(gateway.to_string()))),
    }
}
