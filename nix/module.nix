# nixosModules.default: a host of machines. It has a key, so that other modules may import it as well.
self: {
  _file = ./module.nix;
  key = "virshle/default";
  imports = [
    (
      {
        config,
        lib,
        pkgs,
        ...
      }:
      let
        cfg = config.services.virshle;
        format = pkgs.formats.toml { };
        # The key of the node's configuration decides where the machines live.
        root = cfg.settings.node.root or "/var/lib/virshle";
        # Programs that `v` looks up by their names.
        programs = [
          pkgs.cloud-hypervisor
          pkgs.passt
          pkgs.dnsmasq
          pkgs.nftables
          pkgs.openssh
          pkgs.virtiofsd
          config.virtualisation.vswitch.package
        ];
      in
      {
        options.services.virshle = {
          enable = lib.mkEnableOption "virtual machines from templates";

          package = lib.mkOption {
            type = lib.types.package;
            default = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
            defaultText = lib.literalExpression "virshle.packages.\${system}.default";
            description = "The package that holds `v`.";
          };

          settings = lib.mkOption {
            inherit (format) type;
            default = { };
            example = lib.literalExpression ''
              {
                template.vm = [
                  {
                    name = "xs";
                    vcpu = 1;
                    vram = 2;
                    disk = [ { name = "os"; path = "/var/lib/virshle/cache/nixos.efi.img"; size = "50G"; } ];
                    net = [ { name = "main"; type = "tap"; } ];
                  }
                ];
              }
            '';
            description = "The content of /etc/virshle/config.toml.";
          };

          users = lib.mkOption {
            type = lib.types.listOf lib.types.str;
            default = [ ];
            example = [ "alice" ];
            description = ''
              Users who may run machines of their own, without root: they are put into the group kvm, and their
              machines outlive their last session (lingering).
            '';
          };

          dpdk = lib.mkOption {
            type = lib.types.bool;
            default = false;
            description = "Run Open vSwitch with DPDK, for vhost-user networks; reserves 512 hugepages.";
          };
        };

        config = lib.mkIf cfg.enable {
          environment.systemPackages = [ cfg.package ] ++ programs;
          environment.etc."virshle/config.toml".source = format.generate "virshle-config.toml" (
            lib.recursiveUpdate {
              hypervisor = {
                program = lib.getExe pkgs.cloud-hypervisor;
              }
              # nixpkgs builds this firmware for x86_64 alone.
              // lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 {
                firmware = "${pkgs.OVMF-cloud-hypervisor.fd}/FV/CLOUDHV.fd";
              };
              network.passt = lib.getExe' pkgs.passt "passt";
            } cfg.settings
          );

          virtualisation.vswitch = {
            enable = true;
            package = lib.mkIf cfg.dpdk pkgs.openvswitch-dpdk;
          };
          boot.kernelModules = [
            "tun"
            "vhost_net"
          ];
          boot.kernel.sysctl."vm.nr_hugepages" = lib.mkIf cfg.dpdk 512;

          users.users = lib.genAttrs cfg.users (_: {
            extraGroups = [ "kvm" ];
            linger = true;
          });

          # The units of the package, with what they need beside `v`: virshle.service starts machines when the host
          # boots and shuts all of them down before it goes down, the others look after a machine that has ended.
          # Each machine is a scope of its own, which is ordered before virshle.service: the host waits for it.
          systemd.packages = [ cfg.package ];
          systemd.tmpfiles.rules = [ "d ${root} 0755 root root -" ];
          systemd.services =
            let
              # Of a unit of the package: an upgrade must not touch machines.
              quiet = {
                path = programs;
                restartIfChanged = false;
                stopIfChanged = false;
              };
            in
            {
              virshle = quiet // {
                # Packages don't enable their units here.
                wantedBy = [ "multi-user.target" ];
                after = [
                  "ovsdb.service"
                  "ovs-vswitchd.service"
                  "systemd-tmpfiles-setup.service"
                ];
                unitConfig.RequiresMountsFor = root;
                preStart = lib.mkIf cfg.dpdk ''
                  ovs-vsctl --timeout=30 set Open_vSwitch . \
                    other_config:dpdk-init=true other_config:pmd-maxsleep=1000 other_config:pmd-sleep-max=1000
                '';
              };
              "virshle-ended@" = quiet;
              "virshle-restart@" = quiet;
              virshle-heal = quiet // {
                wantedBy = [
                  "ovsdb.service"
                  "ovs-vswitchd.service"
                ];
              };
              "virshle-heal@" = quiet;
              virshle-logs.path = programs;
            };
          systemd.timers.virshle-logs.wantedBy = [ "timers.target" ];
          # A user's machines start with the user's manager, which lingers.
          systemd.user.services.virshle = lib.mkIf (cfg.users != [ ]) {
            path = programs;
            wantedBy = [ "default.target" ];
            restartIfChanged = false;
            stopIfChanged = false;
          };
        };
      }
    )
  ];
}
