{
  description = "Virtual machines from templates, on cloud-hypervisor and Open vSwitch";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEach (pkgs: {
        default = pkgs.callPackage ./nix/package.nix { };
      });

      nixosModules = {
        default = import ./nix/module.nix self;
        # Moves the host's own connection: read it first.
        host-network = import ./nix/host-network.nix self;
      };

      checks = forEach (
        pkgs:
        let
          found = import ./nix/tests/evaluate.nix {
            nixpkgs = pkgs.path;
            inherit (pkgs.stdenv.hostPlatform) system;
          };
        in
        {
          package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          modules =
            assert found.broken == [ ];
            pkgs.writeText "virshle-modules" (toString found.held);
        }
        // nixpkgs.lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 {
          host = import ./nix/tests/vm.nix { inherit self pkgs; };
        }
      );

      devShells = forEach (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [
            cargo
            clippy
            rustfmt
            cloud-hypervisor
            openvswitch
            qemu-utils
            xfsprogs
            btrfs-progs
          ];
        };
      });
    };
}
