# What the modules take of nixpkgs, where nixpkgs' packages are not at hand: names and paths, nothing that is built.
{ lib, system }:
let
  package =
    name: attributes:
    {
      type = "derivation";
      inherit name system;
      outPath = "/nix/store/${lib.fixedWidthString 32 "0" ""}-${name}";
      meta.mainProgram = name;
    }
    // attributes;
  # Of the same shape as pkgs.formats.toml: a value of TOML, and a file that holds it.
  toml = {
    type =
      let
        value =
          lib.types.oneOf [
            lib.types.bool
            lib.types.int
            lib.types.float
            lib.types.str
            lib.types.path
            (lib.types.attrsOf value)
            (lib.types.listOf value)
          ]
          // {
            description = "TOML value";
          };
      in
      value;
    generate = name: value: package name { inherit value; };
  };
in
{
  stdenv.hostPlatform = {
    inherit system;
    isx86_64 = system == "x86_64-linux";
  };
  formats.toml = _: toml;
  OVMF-cloud-hypervisor.fd = package "OVMF-cloud-hypervisor-fd" { };
}
// lib.genAttrs [
  "cloud-hypervisor"
  "dnsmasq"
  "nftables"
  "openssh"
  "openvswitch"
  "openvswitch-dpdk"
  "passt"
  "virtiofsd"
] (name: package name { })
