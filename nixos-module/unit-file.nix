# Reads a unit of packaging/systemd: a set of sections, each a set of keys. A
# key that stands there once is a string, one that is repeated a list. Lines
# are not continued there, and nothing is quoted that has to be taken apart.
{lib}: path: let
  lines = lib.splitString "\n" (builtins.readFile path);

  step = state: line: let
    section = builtins.match "\\[([A-Za-z]+)]" line;
    setting = builtins.match "([A-Za-z]+)=(.*)" line;
  in
    if line == "" || lib.hasPrefix "#" line
    then state
    else if section != null
    then state // {section = lib.head section;}
    else if setting != null && state.section != null
    then let
      key = lib.head setting;
      value = lib.elemAt setting 1;
      before = state.unit.${state.section} or {};
      both =
        if before ? ${key}
        then
          (
            if lib.isList before.${key}
            then before.${key}
            else [before.${key}]
          )
          ++ [value]
        else value;
    in
      state // {unit = state.unit // {${state.section} = before // {${key} = both;};};}
    else throw "${toString path}: not a line of a unit: ${line}";
in
  (builtins.foldl' step {
      section = null;
      unit = {};
    }
    lines)
  .unit
