# The evaluation tests of the module: topics of sentences, each true or not.
# `nixos` makes a system's configuration of modules, by nixpkgs' own NixOS or by
# the one in ./stub.
{
  lib,
  nixos,
  module ? ../.,
}: let
  # The README's host, with changes.
  host = changes: (nixos ([module ./example.nix] ++ changes)).config;
  example = host [];

  # What assertions say of a host with these changes.
  complaints = changes: map (one: one.message) (lib.filter (one: !one.assertion) (host changes).assertions);

  tools = {
    inherit lib host example;

    # A value, and what it should be.
    equal = is: should: {
      ok = is == should;
      inherit is should;
    };
    # All of these are in the list.
    holds = list: members: {
      ok = lib.all (member: lib.elem member list) members;
      is = list;
      should = members;
    };
    # Exactly one assertion complains, in these words.
    complains = changes: message: let
      said = complaints changes;
    in {
      ok = said == [message];
      is = said;
      should = [message];
    };
    accepted = changes: {
      ok = complaints changes == [];
      is = complaints changes;
      should = [];
    };
    # The value cannot be evaluated at all. A mistake in the test would be
    # taken for that, so a sound neighbour is evaluated beside.
    fails = sound: value: {
      ok = (builtins.tryEval (builtins.deepSeq sound true)).success && !(builtins.tryEval (builtins.deepSeq value true)).success;
      is = "evaluates, or its neighbour does not";
      should = "an error";
    };
  };

  topics = lib.genAttrs ["clusters" "credentials" "postgresql" "settings" "staging" "timers" "units"] (name: import (./. + "/${name}.nix") tools);

  judged = lib.mapAttrs (_: sentences:
    lib.mapAttrs (_: one:
      if builtins.isBool one
      then {ok = one;}
      else one)
    sentences)
  topics;
in {
  topics = judged;
  failed = lib.concatLists (lib.mapAttrsToList (topic: sentences:
    map (sentence: "${topic}: ${sentence}") (lib.attrNames (lib.filterAttrs (_: one: !one.ok) sentences)))
  judged);

  # For systemd, which examines them: all that there can be.
  inherit (import ./stub/rendered.nix {inherit lib;} (host [./orders.nix])) units;
  # For a real shell, with places to be filled in.
  volumes = let
    script = staging: (host [{services.walkeep.staging = {size = lib.mkForce "64MiB";} // staging;}]).systemd.services.walkeep-volume.script;
  in {
    image = script {image = "/PLACE/staging.img";};
    device = script {device = "/dev/PLACE";};
  };
  # For the binary, which judges them itself.
  configurations = {
    example = example.environment.etc."walkeep/walkeep.toml".source.settings;
    # More stores, and what is put elsewhere.
    elsewhere =
      (host [
        {
          services.walkeep = {
            staging.path = "/srv/staging";
            stores.nas = {
              type = "directory";
              path = "/mnt/nas";
            };
            settings.fetch.spool = "/srv/spool";
            settings.stream.enabled = true;
          };
        }
      ])
      .environment
      .etc
      ."walkeep/walkeep.toml"
      .source
      .settings;
  };
}
