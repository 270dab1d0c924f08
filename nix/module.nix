self:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.virshle;
  format = pkgs.formats.toml { };
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

    dpdk = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Run Open vSwitch with DPDK, for vhost-user networks; reserves 512 hugepages.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [
      cfg.package
      pkgs.cloud-hypervisor
    ];
    environment.etc."virshle/config.toml".source = format.generate "virshle-config.toml" (
      lib.recursiveUpdate {
        hypervisor = {
          program = lib.getExe pkgs.cloud-hypervisor;
        }
        # nixpkgs builds this firmware for x86_64 alone.
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 {
          firmware = "${pkgs.OVMF-cloud-hypervisor.fd}/FV/CLOUDHV.fd";
        };
      } cfg.settings
    );

    virtualisation.vswitch = {
      enable = true;
      package = lib.mkIf cfg.dpdk pkgs.openvswitch-dpdk;
    };
    boot.kernel.sysctl."vm.nr_hugepages" = lib.mkIf cfg.dpdk 512;

    # The units of the package, with what they need beside `v`: virshle.service starts machines when the host
    # boots and shuts all of them down before it goes down, the others look after a machine that has ended.
    systemd.packages = [ cfg.package ];
    systemd.services =
      let
        path = [
          pkgs.cloud-hypervisor
          config.virtualisation.vswitch.package
        ];
      in
      {
        virshle = {
          inherit path;
          # Packages don't enable their units here.
          wantedBy = [ "multi-user.target" ];
          after = [
            "ovsdb.service"
            "ovs-vswitchd.service"
          ];
          # An upgrade must not shut machines down.
          restartIfChanged = false;
          stopIfChanged = false;
          preStart = lib.mkIf cfg.dpdk ''
            ovs-vsctl --timeout=30 set Open_vSwitch . \
              other_config:dpdk-init=true other_config:pmd-maxsleep=1000
          '';
        };
        "virshle-ended@" = {
          inherit path;
        };
        "virshle-restart@" = {
          inherit path;
          restartIfChanged = false;
        };
        virshle-heal = {
          inherit path;
          wantedBy = [
            "ovsdb.service"
            "ovs-vswitchd.service"
          ];
          restartIfChanged = false;
        };
        "virshle-heal@" = {
          inherit path;
          restartIfChanged = false;
        };
        virshle-logs = { };
      };
    systemd.timers.virshle-logs.wantedBy = [ "timers.target" ];
  };
}
