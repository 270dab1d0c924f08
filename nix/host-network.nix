# nixosModules.host-network: the host's network on Open vSwitch, so that its machines are in the LAN as it is.
#
#   interface (eno1) ─┐
#                     ├─ switch (vs0) ── patch pair ── br0 ── the machines' ports
#   port (vs0p1) ─────┘
#
# It moves the host's connection: the physical interface becomes a port of the switch and has no address any more;
# the host's own address is that of an internal port. When it is switched on, the connection is gone for some
# seconds, and what holds addresses of the interface (a lease, static addresses, firewall rules by its name) has to
# name the port instead. So switch it on from a console, or with a rollback at hand: `nixos-rebuild test` and a
# reboot bring the old network back. The switch is set up anew whenever Open vSwitch's database is restarted.
self: {
  _file = ./host-network.nix;
  key = "virshle/host-network";
  imports = [
    (import ./module.nix self)
    (
      {
        config,
        lib,
        pkgs,
        ...
      }:
      let
        cfg = config.services.virshle.hostNetwork;
        # Locally administered, and the same after each boot: else each boot would ask for a lease of its own.
        hash = builtins.hashString "sha256" "virshle ${config.networking.hostName}";
        digits = lib.genList (index: builtins.substring (2 * index) 2 hash) 5;
        stableMac = lib.concatStringsSep ":" ([ "02" ] ++ digits);
        bridge = config.services.virshle.settings.network.bridge or "br0";
        silent = [
          cfg.interface
          cfg.switch
          bridge
        ];
      in
      {
        options.services.virshle.hostNetwork = {
          enable = lib.mkEnableOption "the host's network as a port of an Open vSwitch that its machines share";

          interface = lib.mkOption {
            type = lib.types.str;
            example = "eno1";
            description = "The physical interface, which becomes a port of the switch and loses its addresses.";
          };

          switch = lib.mkOption {
            type = lib.types.str;
            default = "vs0";
            description = "The switch over the physical interface.";
          };

          port = lib.mkOption {
            type = lib.types.str;
            default = "vs0p1";
            description = "The host's own port on the switch, which has the host's address.";
          };

          macAddress = lib.mkOption {
            type = lib.types.strMatching "([0-9a-f]{2}:){5}[0-9a-f]{2}";
            default = stableMac;
            defaultText = lib.literalMD "locally administered, from the host's name";
            description = "The MAC address of the host's port. A LAN that knows the host by the interface's has to know this one.";
          };

          useDHCP = lib.mkOption {
            type = lib.types.bool;
            default = true;
            description = "Whether the host's port gets its address by DHCP; else set `networking.interfaces.vs0p1`.";
          };
        };

        config = lib.mkIf (config.services.virshle.enable && cfg.enable) {
          assertions = [
            {
              assertion = !builtins.elem cfg.port silent && cfg.switch != bridge && cfg.interface != cfg.switch;
              message = "services.virshle.hostNetwork: interface, switch, port and the machines' bridge need four names";
            }
          ];

          networking = {
            useDHCP = false;
            interfaces.${cfg.interface}.useDHCP = false;
            interfaces.${cfg.port}.useDHCP = cfg.useDHCP;
            networkmanager.unmanaged = silent ++ [ cfg.port ];
            vswitches.${cfg.switch} = {
              interfaces.${cfg.interface} = { };
              interfaces.${cfg.port}.type = "internal";
              extraOvsctlCmds = ''
                set bridge ${cfg.switch} datapath_type=system
                set interface ${cfg.port} mac=\"${cfg.macAddress}\"
              '';
            };
          };

          # The machines' bridge is not declared here: that would remove it, and their ports, with each change. `v`
          # makes it and its link.
          services.virshle.settings.network = {
            uplink = cfg.switch;
            datapath = "system";
          };
          systemd.services.virshle-network = {
            description = "The bridge of the virtual machines, linked to the host's switch";
            wantedBy = [ "multi-user.target" ];
            before = [ "virshle.service" ];
            wants = [ "${cfg.switch}-netdev.service" ];
            after = [
              "${cfg.switch}-netdev.service"
              "ovs-vswitchd.service"
            ];
            # The switch is made anew with the database: so is the link.
            partOf = [ "${cfg.switch}-netdev.service" ];
            path = [ config.virtualisation.vswitch.package ];
            serviceConfig = {
              Type = "oneshot";
              RemainAfterExit = true;
              ExecStart = "${lib.getExe' config.services.virshle.package "v"} --quiet node init";
            };
          };

          # Only the port speaks for the host: an address or route of what is below it would answer twice.
          boot.kernel.sysctl = lib.listToAttrs (
            lib.concatMap (name: [
              (lib.nameValuePair "net.ipv6.conf.${name}.accept_ra" 0)
              (lib.nameValuePair "net.ipv6.conf.${name}.autoconf" 0)
            ]) silent
          );
        };
      }
    )
  ];
}
