# Evaluates the modules with the example host, and what must hold of it; `nix-instantiate --eval --strict --json`.
# `nixpkgs` is a nixpkgs, or its `lib` alone: then NixOS's own options are declared by options.nix.
{
  nixpkgs,
  system ? "x86_64-linux",
}:
let
  lib = import "${nixpkgs}/lib";
  whole = builtins.pathExists "${nixpkgs}/nixos/lib/eval-config.nix";
  virshle = {
    type = "derivation";
    name = "virshle";
    inherit system;
    outPath = "/nix/store/${lib.fixedWidthString 32 "1" ""}-virshle";
    meta.mainProgram = "v";
  };
  self.packages.${system}.default = virshle;
  modules = [
    (import ../module.nix self)
    (import ../host-network.nix self)
  ];
  evaluate =
    more:
    if whole then
      (import "${nixpkgs}/nixos/lib/eval-config.nix" {
        inherit system;
        modules =
          modules
          ++ more
          ++ [
            {
              boot.loader.grub.enable = false;
              fileSystems."/".device = "/dev/vda";
              system.stateVersion = lib.trivial.release;
            }
          ];
      })
    else
      lib.evalModules {
        modules =
          modules
          ++ more
          ++ [
            ./options.nix
            { virtualisation.vswitch.package = lib.mkOptionDefault pkgs.openvswitch; }
          ];
        specialArgs = { inherit pkgs; };
      };
  pkgs = import ./packages.nix { inherit lib system; };

  host = (evaluate [ ../examples/host.nix ]).config;
  off = (evaluate [ ]).config;
  plain = (evaluate [ { services.virshle.enable = true; } ]).config;
  dpdk = (evaluate [ { services.virshle = { enable = true; dpdk = true; }; } ]).config;
  clash =
    (evaluate [
      ../examples/host.nix
      { services.virshle.hostNetwork.switch = lib.mkForce "br0"; }
    ]).config;
  typo = builtins.tryEval (
    (evaluate [ { services.virshle.hostNetwork.macAddress = "not a mac"; } ]).config.services.virshle.hostNetwork.macAddress
  );

  failed = config: lib.filter (each: !each.assertion) config.assertions;
  network = host.networking;
  unit = host.systemd.services;
  facts = {
    "nothing is set while it is off" = !off.virtualisation.vswitch.enable && !(off.systemd.services ? virshle);
    "machines start and shut down with the host" = lib.elem "multi-user.target" plain.systemd.services.virshle.wantedBy;
    "an upgrade does not touch machines" =
      !unit.virshle.restartIfChanged && !unit.virshle.stopIfChanged && !unit."virshle-ended@".restartIfChanged;
    "the switch is there before the machines" = lib.elem "ovs-vswitchd.service" unit.virshle.after;
    "logs are bounded" = lib.elem "timers.target" plain.systemd.timers.virshle-logs.wantedBy;
    "what v runs is in its units' path" = lib.all (name: lib.any (each: lib.hasInfix name "${each}") unit.virshle.path) [
      "cloud-hypervisor"
      "passt"
      "dnsmasq"
      "openvswitch"
    ];
    "users may open kvm, and linger" = host.users.users.alice.extraGroups == [ "kvm" ] && host.users.users.alice.linger;
    "their machines start with their managers" = lib.elem "default.target" host.systemd.user.services.virshle.wantedBy;
    "no user's unit without users" = !(plain.systemd.user.services ? virshle);
    "hugepages are for DPDK alone" =
      dpdk.boot.kernel.sysctl."vm.nr_hugepages" or null == 512 && plain.boot.kernel.sysctl."vm.nr_hugepages" or null == null;
    "DPDK has its own switch" = lib.hasInfix "dpdk" "${dpdk.virtualisation.vswitch.package}";
    "the host's own network stays as it is without host-network" =
      plain.networking.vswitches == { } && !(plain.systemd.services ? virshle-network);
    "the physical interface is a port" = network.vswitches.vs0.interfaces ? eno1;
    "so is the host" = network.vswitches.vs0.interfaces.vs0p1.type == "internal";
    "the host's address is the port's" = network.interfaces.vs0p1.useDHCP && !network.interfaces.eno1.useDHCP && !network.useDHCP;
    "NetworkManager keeps off" = lib.all (name: lib.elem name network.networkmanager.unmanaged) [
      "eno1"
      "vs0"
      "vs0p1"
      "br0"
    ];
    "the port's MAC address is fixed" =
      builtins.match ".*set interface vs0p1 mac=..02(:[0-9a-f]{2}){5}.*" (lib.replaceStrings [ "\n" ] [ " " ] network.vswitches.vs0.extraOvsctlCmds) != null;
    "nothing below the port takes a router's word" = host.boot.kernel.sysctl."net.ipv6.conf.eno1.accept_ra" == 0;
    "the machines' bridge is linked to the switch" =
      host.services.virshle.settings.network.uplink == "vs0"
      && lib.hasSuffix "/bin/v --quiet node init" unit.virshle-network.serviceConfig.ExecStart;
    "the bridge is there before the machines" = lib.elem "virshle.service" unit.virshle-network.before;
    "the example host stands" = failed host == [ ];
    "two things of one name are refused" = failed clash != [ ];
    "what is no MAC address is refused" = !typo.success;
  };
in
{
  against = if whole then "NixOS ${lib.version}" else "nixpkgs' lib ${lib.version}, NixOS's options as options.nix declares them";
  broken = lib.attrNames (lib.filterAttrs (_: holds: !holds) facts);
  held = lib.length (lib.attrNames facts);
  # For `v template check`.
  settings = host.environment.etc."virshle/config.toml".source.value or host.services.virshle.settings;
}
