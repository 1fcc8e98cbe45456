# Stands in for nixpkgs where there is none: its lib, packages that cannot be
# built, and of NixOS the options that the module sets or reads. Enough to
# force every option, unit, check and test script; it builds nothing.
{lib ? import ./lib.nix}: let
  # A real derivation, which would fail to build.
  package = name: extra:
    derivation {
      inherit name;
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = ["-c" "exit 1"];
    }
    // extra;

  packages = system: let
    platform = {
      inherit system;
      canExecute = other: other.system == system;
    };
    pkgs =
      {
        inherit lib;
        stdenv = {
          hostPlatform = platform;
          buildPlatform = platform;
        };
        formats.toml = _: {
          # What TOML has. It has no null.
          type = let
            value = lib.types.oneOf [lib.types.bool lib.types.int lib.types.float lib.types.str lib.types.path (lib.types.listOf lib.types.anything) (lib.types.attrsOf lib.types.anything)];
          in
            lib.types.attrsOf value;
          generate = name: value: package name {inherit value;};
        };
        runCommand = name: attributes: script: package name (attributes // attributes.passthru or {} // {buildCommand = script;});
        writeText = name: text: package name {inherit text;};
        rustPlatform.buildRustPackage = arguments:
          package "${arguments.pname}-${arguments.version}" (arguments
            // {
              # Read, as it would be to fetch what is in it.
              crates = builtins.length (builtins.fromTOML (builtins.readFile arguments.cargoLock.lockFile)).package;
              overrideAttrs = change: pkgs.rustPlatform.buildRustPackage (arguments // change arguments);
            });
        runtimeShell = "/bin/sh";
        callPackage = file: extra: let
          f = import file;
        in
          f (builtins.intersectAttrs (builtins.functionArgs f) pkgs // extra) // {override = change: pkgs.callPackage file (extra // change);};
        mkShell = arguments: package "shell" arguments;
        testers.runNixOSTest = test:
          package "vm-test-run-${test.name}" {
            nodes = builtins.mapAttrs (_: module: let
              made = nixos system [module];
              node = {config, ...}: {
                system = import ./rendered.nix {inherit lib;} config;
                complaints = map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions);
              };
            in
              node made // {specialisations = builtins.mapAttrs (_: node) made.specialisations;})
            test.nodes;
            inherit (test) testScript;
          };
        postgresql_17 = package "postgresql-17" {version = "17.5";};
      }
      // lib.genAttrs ["alejandra" "cargo" "clippy" "coreutils" "deadnix" "e2fsprogs" "installShellFiles" "openssl" "pkg-config" "postgresql" "python3" "rustc" "rustfmt" "util-linux" "versitygw" "zlib" "zlib-ng" "zstd" "gzip" "curl" "git"] (name: package name {override = _: package name {};});
  in
    pkgs;

  # What a whole NixOS configuration makes of these modules; its
  # specialisations are systems that have theirs besides.
  nixos = system: modules: let
    made = evaluated system modules;
  in
    made // {specialisations = builtins.mapAttrs (_: one: nixos system (modules ++ [one.configuration])) made.config.specialisation;};
  evaluated = system: modules:
    lib.evalModules {
      modules = [./nixos.nix] ++ modules;
      specialArgs = {
        pkgs = packages system;
        # Enough for paths without characters that are written otherwise.
        utils.escapeSystemdPath = path: builtins.replaceStrings ["-" "/"] ["\\x2d" "-"] (lib.removePrefix "/" path);
      };
    };
in {
  inherit nixos;
  lib =
    lib
    // {
      nixosSystem = {
        system,
        modules,
      }:
        nixos system modules;
    };
  legacyPackages = lib.genAttrs ["x86_64-linux" "aarch64-linux"] packages;
}
