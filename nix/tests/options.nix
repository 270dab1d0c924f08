# The options of NixOS that the modules set, with their types, where NixOS itself is not at hand: what they set is
# evaluated, merged and type-checked; what NixOS makes of it is not.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  of = type: default: mkOption { inherit type default; };
  lines = of types.lines "";
  strings = of (types.listOf types.str) [ ];
  services = types.attrsOf (
    types.submodule {
      options = {
        description = of (types.nullOr types.str) null;
        path = of (types.listOf (types.oneOf [ types.package types.str ])) [ ];
        wantedBy = strings;
        wants = strings;
        after = strings;
        before = strings;
        partOf = strings;
        restartIfChanged = of types.bool true;
        stopIfChanged = of types.bool true;
        preStart = lines;
        unitConfig = of (types.attrsOf types.unspecified) { };
        serviceConfig = of (types.attrsOf types.unspecified) { };
      };
    }
  );
in
{
  options = {
    assertions = of (types.listOf types.unspecified) [ ];
    environment.systemPackages = of (types.listOf types.package) [ ];
    environment.etc = of (types.attrsOf (
      types.submodule { options.source = mkOption { type = types.path; }; }
    )) { };
    boot.kernelModules = strings;
    boot.kernel.sysctl = of (types.attrsOf (types.nullOr (types.oneOf [ types.int types.str types.bool ]))) { };
    virtualisation.vswitch = {
      enable = of types.bool false;
      package = mkOption { type = types.package; };
    };
    users.users = of (types.attrsOf (
      types.submodule {
        options = {
          extraGroups = strings;
          linger = of types.bool false;
          isNormalUser = of types.bool false;
        };
      }
    )) { };
    networking = {
      hostName = of types.str "nixos";
      useDHCP = of types.bool true;
      interfaces = of (types.attrsOf (
        types.submodule { options.useDHCP = of (types.nullOr types.bool) null; }
      )) { };
      networkmanager.unmanaged = strings;
      vswitches = of (types.attrsOf (
        types.submodule {
          options = {
            interfaces = mkOption {
              type = types.attrsOf (
                types.submodule { options.type = of (types.nullOr types.str) null; }
              );
            };
            extraOvsctlCmds = lines;
          };
        }
      )) { };
    };
    systemd = {
      packages = of (types.listOf types.package) [ ];
      tmpfiles.rules = strings;
      services = of services { };
      user.services = of services { };
      timers = of (types.attrsOf (types.submodule { options.wantedBy = strings; })) { };
    };
  };
}
