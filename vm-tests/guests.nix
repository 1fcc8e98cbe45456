# For guests of kind `module`: what the NixOS module makes of the machine NODE of
# SCENARIO, with nixos-module/tests/stub in the place of nixpkgs.
{
  scenario,
  node,
}: let
  stub = import ../nixos-module/tests/stub {};
  pkgs = stub.legacyPackages.x86_64-linux;
  package = {lib, ...}: {
    services.walkeep.package = lib.mkDefault (pkgs.callPackage ../packaging/package.nix {});
  };
  scenarios = import ./. {
    inherit pkgs;
    module.imports = [../nixos-module package];
  };
  machine = scenarios."vm-${scenario}".nodes.${node};
in
  machine.system // {specialisations = builtins.mapAttrs (_: one: one.system) machine.specialisations;}
