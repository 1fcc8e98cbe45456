# Every scenario of this directory as a test of the NixOS test driver. The
# machines are the ones that its line `# nodes:` names: nixos.nix says what each
# is, nixos/SCENARIO.nix what is particular to the scenario's. `vm-tests/run`
# runs the same files on other guests.
{
  pkgs,
  module,
}: let
  inherit (pkgs) lib;
  machine = import ./nixos.nix {inherit pkgs module;};

  files = lib.filter (lib.hasSuffix ".py") (lib.attrNames (builtins.readDir ./.));
  # The words of a line of the head.
  head = key: text: let
    found = lib.filter (line: lib.hasPrefix "# ${key}: " line) (lib.splitString "\n" text);
  in
    lib.splitString " " (lib.removePrefix "# ${key}: " (lib.head found));

  scenario = file: let
    name = lib.removeSuffix ".py" file;
    particular = ./nixos + "/${name}.nix";
  in {
    name = "vm-${name}";
    value = pkgs.testers.runNixOSTest {
      inherit name;
      nodes =
        lib.genAttrs (head "nodes" (builtins.readFile (./. + "/${file}"))) (node:
          machine node (lib.optional (builtins.pathExists particular) particular));
      testScript = lib.concatMapStringsSep "\n" builtins.readFile [./driver/prelude.py ./nixos/prelude.py (./. + "/${file}")];
      # The scenarios are other guests' too, whose driver has no types.
      skipTypeCheck = true;
      skipLint = true;
    };
  };
in
  lib.listToAttrs (map scenario files)
