# Every scenario of this directory whose head says `# nixos: yes`, as a test of
# the NixOS test driver. The machines are the ones that its line `# nodes:`
# names; nixos.nix says what each is. `vm-tests/run` runs the same files on
# other guests.
{
  pkgs,
  module,
}: let
  inherit (pkgs) lib;

  files = lib.filter (lib.hasSuffix ".py") (lib.attrNames (builtins.readDir ./.));
  # The words of a line of the head.
  head = key: text: let
    found = lib.filter (line: lib.hasPrefix "# ${key}: " line) (lib.splitString "\n" text);
  in
    if found == []
    then []
    else lib.splitString " " (lib.removePrefix "# ${key}: " (lib.head found));

  scenario = file: let
    name = lib.removeSuffix ".py" file;
    text = builtins.readFile (./. + "/${file}");
  in
    lib.optionalAttrs (head "nixos" text == ["yes"]) {
      "vm-${name}" = pkgs.testers.runNixOSTest {
        inherit name;
        nodes = lib.genAttrs (head "nodes" text) (import ./nixos.nix {inherit pkgs module;});
        testScript = lib.concatMapStringsSep "\n" builtins.readFile [./driver/prelude.py ./nixos/prelude.py (./. + "/${file}")];
        # The scenarios are other guests' too, whose driver has no types.
        skipTypeCheck = true;
        skipLint = true;
      };
    };
in
  lib.foldl' (tests: file: tests // scenario file) {} files
