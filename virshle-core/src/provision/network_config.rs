//! The file `network-config` of a seed.

use serde_json::{Map, Value, json};
use virshle_template::VmTemplate;

use crate::model::definition::NetDefinition;

/// The file `network-config`: an interface is known by its address, as guests name it as they
/// please.
pub(super) fn network_config(template: &VmTemplate, nets: &[NetDefinition]) -> Value {
    let mut ethernets = Map::new();
    for (place, net) in nets.iter().enumerate() {
        // One that the template does not name asks for nothing.
        let wanted = template.nets.get(place);
        let gateways = wanted.map(|wanted| wanted.gateways.as_slice()).unwrap_or_default();
        let dns = wanted.map(|wanted| wanted.dns.as_slice()).unwrap_or_default();
        let mut ethernet = Map::new();
        ethernet.insert("match".into(), json!({ "macaddress": net.mac.to_string() }));
        if net.addresses.is_empty() {
            ethernet.insert("dhcp4".into(), json!(true));
        } else {
            ethernet.insert("addresses".into(), json!(net.addresses));
        }
        if !gateways.is_empty() {
            let routes: Vec<Value> = gateways
                .iter()
                .map(|via| {
                    let to = if via.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                    json!({ "to": to, "via": via.to_string() })
                })
                .collect();
            ethernet.insert("routes".into(), json!(routes));
        }
        if !dns.is_empty() {
            ethernet.insert("nameservers".into(), json!({ "addresses": dns }));
        }
        if let Some(mtu) = net.mtu_bytes {
            ethernet.insert("mtu".into(), json!(mtu));
        }
        ethernets.insert(net.name.clone(), Value::Object(ethernet));
    }
    json!({ "version": 2, "ethernets": ethernets })
}
