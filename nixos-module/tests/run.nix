# What `cargo test --test nix` evaluates: the topics, for one of
#   nixpkgs = null        ./stub, its lib included
#   nixpkgs = a path      nixpkgs there; or, where that has a lib and no NixOS
#                         (nix-community/nixpkgs.lib), that lib and ./stub's NixOS
{nixpkgs ? null}: let
  hasNixos = nixpkgs != null && builtins.pathExists (nixpkgs + "/nixos/lib/eval-config.nix");
  lib =
    if nixpkgs == null
    then import ./stub/lib.nix
    else import (nixpkgs + "/lib");
  stub = import ./stub {inherit lib;};
  package = {
    services.walkeep.package = {
      type = "derivation";
      name = "walkeep-0";
      outPath = "/nix/store/00000000000000000000000000000000-walkeep-0";
      meta.mainProgram = "walkeep";
    };
  };
  nixos = modules:
    if hasNixos
    then
      import (nixpkgs + "/nixos/lib/eval-config.nix") {
        inherit lib;
        system = "x86_64-linux";
        modules =
          [
            {
              # No disks and no boot loader to describe.
              boot.isContainer = true;
              system.stateVersion = "26.05";
            }
            package
          ]
          ++ modules;
      }
    else stub.nixos "x86_64-linux" ([package] ++ modules);
  tests = import ./. {inherit lib nixos;};
in {
  inherit (tests) topics configurations units volumes;
  reference = import ./reference.nix {inherit lib nixos;};
  outputs = import ./outputs.nix stub;
}
