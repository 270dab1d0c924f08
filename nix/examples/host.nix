# A host of machines: its network is that of its machines, which start with it and shut down with it. In a flake:
#
#   inputs.virshle.url = "github:pipelight/virshle";
#   …
#   nixosConfigurations.deku = nixpkgs.lib.nixosSystem {
#     modules = [
#       inputs.virshle.nixosModules.default
#       inputs.virshle.nixosModules.host-network
#       ./hardware-configuration.nix
#       ./host.nix
#     ];
#   };
{ ... }:
{
  networking.hostName = "deku";

  services.virshle = {
    enable = true;
    # May run machines without root.
    users = [ "alice" ];

    settings = {
      node.alias = "deku";
      template.vm = [
        {
          name = "xs";
          vcpu = 1;
          vram = 2;
          disk = [
            {
              name = "os";
              path = "/var/lib/virshle/cache/nixos.efi.img";
              size = "50G";
            }
          ];
          net = [
            {
              name = "main";
              type = "tap";
            }
          ];
        }
        {
          name = "web";
          vcpu = 2;
          vram = "4GiB";
          autostart = true;
          restart = "on-failure";
          disk = [
            {
              name = "os";
              image = "debian";
              size = "20G";
            }
          ];
          net = [
            {
              name = "main";
              type = "tap";
              vlan = 12;
            }
          ];
        }
      ];
    };

    # Read nix/host-network.nix first: it moves the host's connection to a port of the switch.
    hostNetwork = {
      enable = true;
      interface = "eno1";
    };
  };

  users.users.alice.isNormalUser = true;
}
