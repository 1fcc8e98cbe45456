{
  description = "walkeep keeps a PostgreSQL cluster's WAL and base backups in two clouds at once";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs = {
    self,
    nixpkgs,
  }: let
    inherit (nixpkgs) lib;
    each = f: lib.genAttrs ["x86_64-linux" "aarch64-linux"] (system: f nixpkgs.legacyPackages.${system});
    mine = pkgs: self.packages.${pkgs.stdenv.hostPlatform.system};
  in {
    packages = each (pkgs: rec {
      default = pkgs.callPackage ./packaging/package.nix {};
      # The same, linked with zlib-ng in the place of zlib.
      walkeep-zlib-ng = default.override {zlib = pkgs.zlib-ng.override {withZlibCompat = true;};};
    });

    # nix run . -- restore DIRECTORY: a bucket and a key in the environment are
    # enough.
    apps = each (pkgs: {
      default = {
        type = "app";
        program = lib.getExe (mine pkgs).default;
        meta.description = "Archive, restore and prove a PostgreSQL cluster";
      };
    });

    overlays.default = final: _: {
      walkeep = final.callPackage ./packaging/package.nix {};
    };

    nixosModules.default = {pkgs, ...}: {
      imports = [./nixos-module];
      services.walkeep.package = lib.mkDefault (mine pkgs).default;
    };

    devShells = each (pkgs: {
      default = pkgs.mkShell {
        inputsFrom = [(mine pkgs).default];
        packages = with pkgs; [alejandra cargo clippy curl deadnix postgresql python3 rustc rustfmt zstd];
      };
    });

    formatter = each (pkgs: pkgs.alejandra);

    checks = each (pkgs: let
      package = (mine pkgs).default;
      # Another step of cargo's, with the package's sources and crates.
      cargo = name: tools: command:
        package.overrideAttrs (before: {
          pname = "walkeep-${name}";
          nativeBuildInputs = before.nativeBuildInputs ++ tools;
          buildPhase = command;
          doCheck = false;
          installPhase = "touch $out";
          postInstall = "";
        });
      tests = import ./nixos-module/tests {
        inherit lib;
        # With the flake's own package, as a host has it.
        nixos = modules:
          lib.nixosSystem {
            inherit (pkgs.stdenv.hostPlatform) system;
            modules =
              [
                {
                  # No disks and no boot loader to describe.
                  boot.isContainer = true;
                  system.stateVersion = "26.05";
                }
              ]
              ++ modules;
          };
        module = self.nixosModules.default;
      };
    in
      {
        inherit package;
        clippy = cargo "clippy" [pkgs.clippy] "cargo clippy --locked --all-targets -- -D warnings";
        fmt = cargo "fmt" [pkgs.rustfmt] "cargo fmt --check";
        module = pkgs.runCommand "walkeep-module" {} (
          if tests.failed == []
          then "touch $out"
          else throw "the module's evaluation tests: ${lib.concatStringsSep "; " tests.failed}"
        );
        nix = pkgs.runCommand "walkeep-nix" {nativeBuildInputs = [pkgs.deadnix];} ''
          cd ${self}
          deadnix --fail flake.nix nixos-module packaging vm-tests
          touch $out
        '';
      }
      // import ./vm-tests {
        inherit pkgs;
        module = self.nixosModules.default;
      });
  };
}
