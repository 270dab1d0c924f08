# A host in a virtual machine of NixOS's own test driver: `nix build .#checks.x86_64-linux.host`, or `nix flake check`.
# It checks what only a booted NixOS shows: units, files, the switch and its link, and that machines are shut down with
# the host. Its guests need nested virtualization; without, the part that starts one says so and is left out.
{ self, pkgs }:
pkgs.testers.runNixOSTest {
  name = "virshle-host";
  nodes.host =
    { pkgs, ... }:
    {
      imports = [
        self.nixosModules.default
        self.nixosModules.host-network
      ];
      networking.hostName = "deku";
      virtualisation = {
        memorySize = 2048;
        cores = 2;
        # The interface that becomes a port of the switch; the test driver keeps eth0.
        vlans = [ 1 ];
        qemu.options = [ "-cpu max" ];
      };
      services.virshle = {
        enable = true;
        users = [ "alice" ];
        hostNetwork = {
          enable = true;
          interface = "eth1";
          useDHCP = false;
        };
        settings.template.vm = [
          {
            name = "xs";
            vcpu = 1;
            vram = "256MiB";
            # A kernel that is there, and an initramfs that only waits for the power button.
            kernel = "/run/current-system/kernel";
            initramfs = "/run/current-system/initrd";
            cmdline = "console=ttyS0 panic=-1";
            disk = [
              {
                name = "data";
                size = "1G";
              }
            ];
            net = [
              {
                name = "main";
                type = "tap";
              }
            ];
          }
        ];
      };
      networking.interfaces.vs0p1.ipv4.addresses = [
        {
          address = "192.168.1.10";
          prefixLength = 24;
        }
      ];
      users.users.alice.isNormalUser = true;
      environment.systemPackages = [ pkgs.jq ];
    };

  testScript = ''
    host.start()
    host.wait_for_unit("multi-user.target")

    with subtest("the configuration is right, and the host is told what it lacks"):
        host.succeed("v template check")
        host.execute("v node check >&2")

    with subtest("the switch has the interface and the host's port, and br0 is linked to it"):
        host.wait_for_unit("virshle-network.service")
        ports = host.succeed("ovs-vsctl list-ports vs0").split()
        assert "eth1" in ports and "vs0p1" in ports, ports
        assert any(port not in ("eth1", "vs0p1") for port in ports), f"no link to br0: {ports}"
        host.succeed("ovs-vsctl br-exists br0")
        host.succeed("ip -4 address show dev vs0p1 | grep -q 192.168.1.10")
        host.fail("ip -4 address show dev eth1 | grep -q inet")

    with subtest("units are as the module has them"):
        host.require_unit_state("virshle.service", "active")
        host.require_unit_state("virshle-logs.timer", "active")
        host.succeed("id --name --groups alice | grep -qw kvm")
        host.succeed("loginctl show-user alice --property=Linger | grep -q yes")

    with subtest("a machine, stopped and there"):
        host.succeed("v vm create -t xs --name web")
        host.succeed("v --json vm ls | jq -e '.[0].name == \"web\"'")

    if host.execute("test -r /dev/kvm")[0] != 0:
        print("SKIPPED: a running machine: no nested virtualization here")
    else:
        with subtest("a machine is a scope of systemd, and goes down with the host"):
            host.succeed("v vm start web >&2")
            host.succeed("systemctl is-active virshle-web.scope")
            host.succeed("v vm autostart web on")
            host.shutdown()
            host.start()
            host.wait_for_unit("virshle.service")
            host.succeed("v --json vm ls | jq -e '.[0].state == \"running\"'")
            print(host.succeed("v vm why web || true"))
  '';
}
