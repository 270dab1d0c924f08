//! Writes a machine's configuration as cloud-hypervisor's command line: the arguments and their order.
//! How a part is spelt is in its own file.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use serde_json::Value;

use crate::console::{ConsoleConfig, ConsoleMode};
use crate::options::{Options, quote};
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
        line.option("--cpus", self.cpus.options().write());
        line.option("--memory", self.memory.options().write());
        line.list("--disk", self.disks.iter().map(|disk| disk.options().write()));
        line.list("--net", self.net.iter().map(|net| net.options().write()));
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

    fn extras(&self, line: &mut Line) {
        let zones = self.memory.extra.get("zones").and_then(Value::as_array);
        let zones = zones.into_iter().flatten().filter_map(Value::as_object);
        line.list("--memory-zone", zones.map(|zone| Options::of_object(zone).write()));
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
                Value::Object(object) => line.option(&name, Options::of_object(object).write()),
                Value::Array(list) => {
                    line.list(
                        &name,
                        list.iter()
                            .filter_map(Value::as_object)
                            .map(|object| Options::of_object(object).write()),
                    );
                }
                _ => {}
            }
        }
    }
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
        assert!(has("bw_refill_time=100,bw_size=5,image_type=raw,path=/d"), "{line:?}");
        assert!(has("affinity=[0@[1,2]],boot=2,max=2,topology=1:2:1:1"), "{line:?}");
    }
}
