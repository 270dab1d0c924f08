//! Writes a machine's configuration as cloud-hypervisor's command line.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::console::{ConsoleConfig, ConsoleMode};
use crate::vm_config::VmConfig;

impl VmConfig {
    /// The command that starts the same machine from a shell, program first.
    ///
    /// It is what people can try by hand; the spellings are those of v53, and differ from the
    /// API's. An interface on passed descriptors has no equivalent: name its tap first, else
    /// cloud-hypervisor creates one of its own. Nor has an
    /// [`oem_string`](crate::PlatformConfig::oem_strings) with a comma, bracket or quote. Of
    /// [`extra`](Self::extra), flags, objects of plain values and lists of those are translated;
    /// anything deeper is left out.
    pub fn command_line(&self, program: &Path, api_socket: &Path) -> Vec<OsString> {
        let mut line = Line(vec![program.into()]);
        let mut socket = OsString::from("path=");
        socket.push(quoted(api_socket.as_os_str()));
        line.option("--api-socket", socket);
        self.payload(&mut line);
        line.option("--cpus", self.cpus());
        line.option("--memory", self.memory());
        line.list(
            "--disk",
            self.disks.iter().map(|disk| {
                let mut options = Options::of(disk);
                options.rename("vhost_socket", "socket");
                options.set("image_type", disk.image_type.name());
                options.take("rate_limiter_config", rate_limiter);
                options.take("queue_affinity", |list| affinity(list, "queue_index"));
                options.write()
            }),
        );
        line.list(
            "--net",
            self.net.iter().map(|net| {
                let mut options = Options::of(net);
                options.rename("vhost_socket", "socket");
                options.lower("vhost_mode");
                options.take("rate_limiter_config", rate_limiter);
                options.write()
            }),
        );
        line.option("--rng", Options::of(&self.rng).write());
        line.option("--serial", console(&self.serial));
        line.option("--console", console(&self.console));
        if let Some(vsock) = &self.vsock {
            line.option("--vsock", Options::of(vsock).write());
        }
        if let Some(platform) = &self.platform {
            line.option("--platform", Options::of(platform).write());
        }
        if self.landlock_enable {
            line.0.push("--landlock".into());
        }
        line.list(
            "--landlock-rules",
            self.landlock_rules.iter().map(|rule| {
                let mut option = OsString::from("path=");
                option.push(quoted(rule.path.as_os_str()));
                option.push(",access=");
                option.push(rule.access.name());
                option
            }),
        );
        self.extras(&mut line);
        line.0
    }

    fn payload(&self, line: &mut Line) {
        let Some(payload) = &self.payload else { return };
        let paths = [
            ("--firmware", payload.firmware.as_deref()),
            ("--kernel", payload.kernel.as_deref()),
            ("--initramfs", payload.initramfs.as_deref()),
        ];
        for (name, path) in paths {
            if let Some(path) = path {
                line.option(name, path.into());
            }
        }
        if let Some(cmdline) = &payload.cmdline {
            line.option("--cmdline", cmdline.into());
        }
        for (key, value) in &payload.extra {
            if let Some(text) = value.as_str() {
                line.option(&format!("--{}", key.replace('_', "-")), text.into());
            }
        }
    }

    fn cpus(&self) -> OsString {
        let mut options = Options::of(&self.cpus);
        options.rename("boot_vcpus", "boot");
        options.rename("max_vcpus", "max");
        options.lower("core_scheduling");
        options.take("affinity", |list| affinity(list, "vcpu"));
        options.take("topology", |value| {
            let names = ["threads_per_core", "cores_per_die", "dies_per_package", "packages"];
            let numbers = names.map(|name| value[name].to_string());
            vec![("topology".into(), numbers.join(":"))]
        });
        options.take("features", |value| match value["amx"].as_bool() {
            Some(true) => vec![("features".into(), "amx".into())],
            _ => Vec::new(),
        });
        options.write()
    }

    fn memory(&self) -> OsString {
        let mut options = Options::of(&self.memory);
        if let Some(Value::String(method)) = options.0.get_mut("hotplug_method") {
            *method = if method == "VirtioMem" { "virtio-mem".into() } else { "acpi".into() };
        }
        options.0.remove("zones");
        options.write()
    }

    fn extras(&self, line: &mut Line) {
        let zones = self.memory.extra.get("zones").and_then(Value::as_array);
        let zones = zones.into_iter().flatten().filter_map(Value::as_object);
        line.list("--memory-zone", zones.map(|zone| Options(zone.clone()).write()));
        for (key, value) in &self.extra {
            let singular = match key.as_str() {
                "devices" => "device",
                "user_devices" => "user-device",
                "pci_segments" => "pci-segment",
                "rate_limit_groups" => "rate-limit-group",
                key => key,
            };
            let name = format!("--{}", singular.replace('_', "-"));
            match value {
                Value::Bool(true) => line.0.push(name.into()),
                Value::Object(object) => line.option(&name, extra(object)),
                Value::Array(list) => {
                    line.list(&name, list.iter().filter_map(Value::as_object).map(extra));
                }
                _ => {}
            }
        }
    }
}

fn extra(object: &Map<String, Value>) -> OsString {
    let mut options = Options(object.clone());
    options.take("rate_limiter_config", rate_limiter);
    options.write()
}

fn console(console: &ConsoleConfig) -> OsString {
    let with = |name: &str, path: Option<&Path>| {
        let mut option = OsString::from(format!("{name}="));
        option.push(quoted(path.unwrap_or(Path::new("")).as_os_str()));
        option
    };
    match console.mode {
        ConsoleMode::Off => "off".into(),
        ConsoleMode::Null => "null".into(),
        ConsoleMode::Pty => "pty".into(),
        ConsoleMode::Tty => "tty".into(),
        ConsoleMode::File => with("file", console.file.as_deref()),
        ConsoleMode::Socket => with("socket", console.socket.as_deref()),
    }
}

/// `{"bandwidth": {"size": …}, "ops": …}` as `bw_size=…,ops_size=…`.
fn rate_limiter(value: &Value) -> Vec<(String, String)> {
    let buckets = [("bandwidth", "bw"), ("ops", "ops")];
    let pairs = buckets.into_iter().filter_map(|(key, prefix)| {
        let bucket = value[key].as_object()?;
        Some(
            bucket
                .iter()
                .filter(|(_, number)| number.is_number())
                .map(move |(name, number)| (format!("{prefix}_{name}"), number.to_string())),
        )
    });
    pairs.flatten().collect()
}

/// `[{"vcpu": 0, "host_cpus": [1, 2]}]` as `affinity=[0@[1,2]]`.
fn affinity(list: &Value, key: &str) -> Vec<(String, String)> {
    let entries = list.as_array().into_iter().flatten();
    let entries = entries.map(|entry| format!("{}@{}", entry[key], entry["host_cpus"]));
    let name = if key == "vcpu" { "affinity" } else { "queue_affinity" };
    vec![(name.into(), format!("[{}]", entries.collect::<Vec<_>>().join(",")))]
}

struct Line(Vec<OsString>);

impl Line {
    fn option(&mut self, name: &str, value: OsString) {
        self.0.push(name.into());
        self.0.push(value);
    }

    /// A name once, each value as an argument of its own.
    fn list(&mut self, name: &str, values: impl Iterator<Item = OsString>) {
        let mut values = values.peekable();
        if values.peek().is_some() {
            self.0.push(name.into());
            self.0.extend(values);
        }
    }
}

/// `key=value,key=value`.
struct Options(Map<String, Value>);

impl Options {
    fn of(config: &impl Serialize) -> Self {
        match serde_json::to_value(config) {
            Ok(Value::Object(map)) => Self(map),
            // A path that isn't UTF-8, which the API takes neither.
            _ => Self(Map::new()),
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        self.0.insert(key.into(), value.into());
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some(value) = self.0.remove(from) {
            self.0.insert(to.into(), value);
        }
    }

    fn lower(&mut self, key: &str) {
        if let Some(Value::String(text)) = self.0.get_mut(key) {
            *text = text.to_lowercase();
        }
    }

    /// Replaces a nested value by plain ones.
    fn take(&mut self, key: &str, plain: impl Fn(&Value) -> Vec<(String, String)>) {
        if let Some(value) = self.0.remove(key) {
            let pairs = plain(&value).into_iter();
            self.0.extend(pairs.map(|(name, text)| (name, Value::from(text))));
        }
    }

    fn write(&self) -> OsString {
        let pairs = self.0.iter().filter_map(|(key, value)| {
            Some(match value {
                Value::Bool(true) => format!("{key}=on"),
                Value::Bool(false) => format!("{key}=off"),
                Value::Number(number) => format!("{key}={number}"),
                // A list that is written already.
                Value::String(text) if text.starts_with('[') => format!("{key}={text}"),
                Value::String(text) => format!("{key}={}", quote(text)),
                Value::Array(list) => format!("{key}=[{}]", plain_list(list)?),
                Value::Null | Value::Object(_) => return None,
            })
        });
        pairs.collect::<Vec<_>>().join(",").into()
    }
}

fn plain_list(list: &[Value]) -> Option<String> {
    let texts = list.iter().map(|value| match value {
        Value::String(text) => Some(quote(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    Some(texts.collect::<Option<Vec<_>>>()?.join(","))
}

/// Quotes a value whose characters the option parser would take for its own.
fn quote(text: &str) -> String {
    if text.contains([',', '[', ']', '"']) {
        // Inside quotes, a doubled quote stands for one.
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn quoted(text: &OsStr) -> OsString {
    text.to_str().map_or_else(|| text.to_owned(), |text| quote(text).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::*;

    #[test]
    fn a_whole_machine_is_spelt_as_the_command_line_wants() {
        let config = VmConfig::new(
            CpusConfig::new(2).max(4).nested(false),
            MemoryConfig::new(1 << 30).shared(true).hotplug(HotplugMethod::VirtioMem, 1 << 30),
            PayloadConfig::kernel("/k").cmdline("console=ttyS0 root=/dev/vda1"),
        )
        .disk(DiskConfig::new("/d,1", ImageType::Raw).serial("os"))
        .disk(DiskConfig::new("/e", ImageType::Qcow2).backing_files(true).readonly(true))
        .net(NetConfig::vhost_user("/n.sock", VhostMode::Server).mac("52:54:00:00:00:01"))
        .serial(ConsoleConfig::socket("/s.sock"))
        .vsock(VsockConfig::new(3, "/v"))
        .platform(PlatformConfig::default().system_uuid("u").oem_string("a=b").oem_string("c,d"))
        .extra("watchdog", json!(true))
        .extra("pvpanic", json!(false))
        .extra("balloon", json!({"size": 1024, "deflate_on_oom": true}))
        .confined([]);
        let line = config.command_line(Path::new("cloud-hypervisor"), Path::new("/ch.sock"));
        let line: Vec<_> = line.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!(
            line,
            [
                "cloud-hypervisor",
                "--api-socket",
                "path=/ch.sock",
                "--kernel",
                "/k",
                "--cmdline",
                "console=ttyS0 root=/dev/vda1",
                "--cpus",
                "boot=2,max=4,nested=off",
                "--memory",
                "hotplug_method=virtio-mem,hotplug_size=1073741824,shared=on,size=1073741824",
                "--disk",
                "image_type=raw,path=\"/d,1\",serial=os",
                "backing_files=on,image_type=qcow2,path=/e,readonly=on",
                "--net",
                "mac=52:54:00:00:00:01,socket=/n.sock,vhost_mode=server,vhost_user=on",
                "--rng",
                "src=/dev/urandom",
                "--serial",
                "socket=/s.sock",
                "--console",
                "off",
                "--vsock",
                "cid=3,socket=/v",
                "--platform",
                "oem_strings=[a=b,\"c,d\"],system_uuid=u",
                "--landlock",
                "--landlock-rules",
                "path=/,access=rw",
                "--balloon",
                "deflate_on_oom=on,size=1024",
                "--watchdog",
            ]
        );
    }

    #[test]
    fn nested_values_become_plain_ones() {
        let mut disk = DiskConfig::new("/d", ImageType::Raw);
        let limits = json!({"bandwidth": {"size": 5, "refill_time": 100}, "ops": null});
        disk.extra.insert("rate_limiter_config".into(), limits);
        let mut cpus = CpusConfig::new(2);
        cpus.affinity = vec![CpuAffinity { vcpu: 0, host_cpus: vec![1, 2] }];
        cpus.topology = Some(CpuTopology {
            threads_per_core: 1,
            cores_per_die: 2,
            dies_per_package: 1,
            packages: 1,
        });
        let config = VmConfig::new(cpus, MemoryConfig::new(1), PayloadConfig::firmware("/f"));
        let line = config.disk(disk).command_line(Path::new("ch"), Path::new("/s"));
        let has = |wanted: &str| line.iter().any(|arg| arg == wanted);
        assert!(
            has("image_type=raw,path=/d,bw_refill_time=100,bw_size=5")
                || has("bw_refill_time=100,bw_size=5,image_type=raw,path=/d"),
            "{line:?}"
        );
        assert!(has("affinity=[0@[1,2]],boot=2,max=2,topology=1:2:1:1"), "{line:?}");
    }
}
