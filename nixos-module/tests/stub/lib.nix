# The part of nixpkgs' lib that the module and its tests use, written for
# machines without nixpkgs: options, types and the merging of modules, with
# nixpkgs' names and its priorities. What it does not know, it refuses.
let
  inherit
    (builtins)
    all
    attrNames
    concatLists
    concatMap
    elem
    elemAt
    filter
    foldl'
    functionArgs
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    mapAttrs
    match
    removeAttrs
    replaceStrings
    stringLength
    substring
    toJSON
    ;

  tagged = tag: value: isAttrs value && (value._type or null) == tag;
  showOption = concatStringsSep ".";
  concatStringsSep = builtins.concatStringsSep;

  # --- definitions: what modules say of one option -------------------------

  # A definition's value without its properties: a list of values, each with
  # the priority that it has.
  discharge = priority: value:
    if tagged "if" value
    then
      if value.condition
      then discharge priority value.content
      else []
    else if tagged "merge" value
    then concatMap (discharge priority) value.contents
    else if tagged "override" value
    then discharge value.priority value.content
    else [{inherit priority value;}];

  # Properties around a set, pushed down to its attributes: their names must
  # not depend on a condition, since conditions depend on the configuration.
  pushDown = value:
    if tagged "if" value
    then map (mapAttrs (_: mkIf value.condition)) (pushDown value.content)
    else if tagged "merge" value
    then concatMap pushDown value.contents
    else if tagged "override" value
    then map (mapAttrs (_: mkOverride value.priority)) (pushDown value.content)
    else [value];

  # The values of the highest priority, which is the lowest number.
  strongest = found: let
    least =
      foldl' (a: one:
        if one.priority < a
        then one.priority
        else a)
      100000
      found;
  in
    map (one: one.value) (filter (one: one.priority == least) found);

  named = name: sets:
    concatMap (set:
      if set ? ${name}
      then [set.${name}]
      else [])
    sets;

  namesOf = sets: attrNames (foldl' (a: set: a // set) {} sets);

  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };

  # --- types ----------------------------------------------------------------

  fail = loc: problem: throw "the option `${showOption loc}': ${problem}";

  checked = type: loc: values:
    map (value:
      if type.check value
      then value
      else fail loc "a definition is not of type `${type.description}'")
    values;

  # A type whose definitions must agree.
  single = description: check: let
    type = {
      inherit description check;
      _type = "option-type";
      merge = loc: values:
        if all (value: value == head values) (checked type loc values)
        then head values
        else fail loc "has conflicting definition values";
    };
  in
    type;

  derived = type: extra: type // extra;

  # As nixpkgs puts a composed type's description into another.
  within = type:
    if type.composed or false
    then "(${type.description})"
    else type.description;

  types = rec {
    anything = derived (single "anything" (_: true)) {
      merge = loc: values:
        if all (value: isAttrs value && !(value ? outPath)) values
        then (attrsOf anything).merge loc values
        else (single "anything" (_: true)).merge loc values;
    };
    raw = single "raw value" (_: true);
    bool = single "boolean" isBool;
    int = single "signed integer" isInt;
    float = single "floating point number" isFloat;
    str = single "string" isString;
    package = single "package" (value: value ? outPath);
    path = single "absolute path" (value: isPath value || value ? outPath || (isString value && hasPrefix "/" value));
    attrs = single "attribute set" isAttrs;
    lines = derived (single "strings concatenated with \"\\n\"" isString) {
      merge = loc: values: concatStringsSep "\n" (checked str loc values);
    };
    strMatching = pattern:
      single "string matching the pattern ${pattern}" (value: isString value && match pattern value != null);
    enum = values: single "one of ${concatStringsSep ", " (map toJSON values)}" (value: elem value values);
    ints.positive = single "positive integer, meaning >0" (value: isInt value && value > 0);
    port = single "16 bit unsigned integer; between 0 and 65535 (both inclusive)" (value: isInt value && value >= 0 && value < 65536);

    nullOr = type:
      derived (single "null or ${within type}" (value: value == null || type.check value)) {
        composed = true;
        merge = loc: values:
          if all (value: value == null) values
          then null
          else type.merge loc (filter (value: value != null) values);
      };

    oneOf = choices:
      derived (single (concatStringsSep " or " (map within choices)) (value: builtins.any (type: type.check value) choices)) {
        composed = true;
        merge = loc: values: let
          fits = filter (type: all type.check values) choices;
        in
          if fits == []
          then fail loc "a definition is not of type `${concatStringsSep " or " (map (type: type.description) choices)}'"
          else (head fits).merge loc values;
      };

    listOf = type:
      derived (single "list of ${within type}" isList) {
        composed = true;
        merge = loc: values:
          map (value: type.merge loc [value]) (concatLists (checked (listOf type) loc values));
      };

    attrsOf = type:
      derived (single "attribute set of ${within type}" isAttrs) {
        composed = true;
        getSubOptions = prefix:
          if type ? getSubOptions
          then {"<name>" = type.getSubOptions prefix;}
          else {};
        merge = loc: values: let
          sets = concatMap pushDown (checked (attrsOf type) loc values);
          merged = name: let
            found = strongest (concatMap (discharge 100) (named name sets));
          in
            if found == []
            then []
            else [
              {
                inherit name;
                value = type.merge (loc ++ [name]) found;
              }
            ];
        in
          listToAttrs (concatMap merged (namesOf sets));
      };

    # A set is configuration as a whole, also where it has `options' in it.
    submodule = module: let
      shorthand = value:
        if isAttrs value
        then {config = value;}
        else value;
    in
      derived (single "submodule" (value: isAttrs value || isFunction value || isPath value)) {
        getSubOptions = prefix: (evaluate prefix [module] {name = "<name>";}).options;
        merge = loc: values:
          (evaluate loc ([module] ++ map shorthand values) {name = elemAt loc (length loc - 1);}).config;
      };
  };

  # --- modules ----------------------------------------------------------------

  reserved = ["imports" "options" "config" "freeformType" "_file" "key" "meta"];

  evaluate = prefix: modules: specialArgs: let
    load = module: let
      source =
        if isPath module || isString module
        then import module
        else module;
      # Exactly what it asks for, so that nothing is forced that it does not.
      asked = mapAttrs (name: _: arguments.${name} or config._module.args.${name}) (functionArgs source);
      loaded =
        if isFunction source
        then source (arguments // asked)
        else source;
      plain = !(loaded ? config || loaded ? options);
      beside = attrNames (removeAttrs loaded reserved);
    in
      if !plain && beside != []
      then throw "a module has `${head beside}' beside its options and config"
      else
        [
          {
            options = loaded.options or {};
            freeform = loaded.freeformType or null;
            config =
              loaded.config
              or (
                if plain
                then removeAttrs loaded reserved
                else {}
              );
          }
        ]
        ++ concatMap load (loaded.imports or []);

    arguments =
      {
        lib = result;
        inherit config options;
      }
      // specialArgs;

    argsModule.options._module.args = mkOption {
      type = types.attrsOf types.raw;
      default = {};
      internal = true;
    };

    loaded = concatMap load ([argsModule] ++ modules);
    options = foldl' (declare prefix) {} (map (module: module.options) loaded);
    freeform =
      foldl' (found: module:
        if module.freeform != null
        then module.freeform
        else found)
      null
      loaded;

    value = loc: option: definitions: let
      given = concatMap (discharge 100) definitions;
      default =
        if option ? default
        then [
          {
            priority = 1500;
            value = option.default;
          }
        ]
        else [];
      values = strongest (given ++ default);
      type = option.type or types.raw;
    in
      if
        (option.readOnly or false)
        && length given
        > (
          if option ? default
          then 0
          else 1
        )
      then fail loc "is read-only, but it's set multiple times"
      else if values == []
      then fail loc "was accessed but has no value defined. Try setting the option."
      else (option.apply or (it: it)) (type.merge loc values);

    config = settle prefix options (map (module: module.config) loaded);

    settle = loc: declared: definitions: let
      sets = concatMap pushDown definitions;
      unknown = filter (name: !(declared ? ${name})) (namesOf sets);
      known = mapAttrs (name: option:
        if tagged "option" option
        then value (loc ++ [name]) option (named name sets)
        else settle (loc ++ [name]) option (named name sets))
      declared;
    in
      if unknown == []
      then known
      else if freeform != null && loc == prefix
      then known // freeform.merge loc (map (set: removeAttrs set (attrNames declared)) sets)
      else throw "The option `${showOption (loc ++ [(head unknown)])}' does not exist.";
  in {
    config = removeAttrs config ["_module"];
    options = removeAttrs options ["_module"];
  };

  declare = loc: left: right:
    left
    // mapAttrs (name: new:
      if !(left ? ${name})
      then new
      else if tagged "option" left.${name} || tagged "option" new
      then throw "The option `${showOption (loc ++ [name])}' is declared twice."
      else declare (loc ++ [name]) left.${name} new)
    right;

  mkOption = option: {_type = "option";} // option;
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix = suffix: text: let
    rest = stringLength text - stringLength suffix;
  in
    rest >= 0 && substring rest (stringLength suffix) text == suffix;

  result = {
    inherit
      concatMap
      concatStringsSep
      elem
      filter
      hasPrefix
      hasSuffix
      head
      isString
      length
      listToAttrs
      mapAttrs
      attrNames
      mkIf
      mkOption
      mkOverride
      types
      ;
    inherit (builtins) foldl' any all attrValues concatLists elemAt isAttrs isList splitVersion;

    evalModules = {
      modules,
      specialArgs ? {},
    }:
      evaluate [] modules specialArgs;

    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    # `merge' gets definitions as nixpkgs hands them over, with their files.
    mkOptionType = {
      name,
      merge,
    }:
      derived (single name (_: true)) {
        merge = loc: values: merge loc (map (value: {inherit value;}) values);
      };
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    mkEnableOption = what:
      mkOption {
        type = types.bool;
        default = false;
        description = "Whether to enable ${what}.";
        example = true;
      };
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };
    isOption = tagged "option";

    optional = condition: value:
      if condition
      then [value]
      else [];
    optionals = condition: values:
      if condition
      then values
      else [];
    optionalAttrs = condition: set:
      if condition
      then set
      else {};
    optionalString = condition: text:
      if condition
      then text
      else "";

    concatMapStringsSep = separator: f: list: concatStringsSep separator (map f list);
    filterAttrs = keep: set: removeAttrs set (filter (name: !(keep name set.${name})) (attrNames set));
    mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    nameValuePair = name: value: {inherit name value;};
    genAttrs = names: f:
      listToAttrs (map (name: {
          inherit name;
          value = f name;
        })
        names);
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    boolToString = value:
      if value
      then "true"
      else "false";
    licenses.asl20 = "Apache-2.0";
    escapeShellArg = argument: "'${replaceStrings ["'"] ["'\\''"] (toString argument)}'";
    removePrefix = prefix: text:
      if hasPrefix prefix text
      then substring (stringLength prefix) (stringLength text) text
      else text;
    removeSuffix = suffix: text:
      if hasSuffix suffix text
      then substring 0 (stringLength text - stringLength suffix) text
      else text;
    hasInfix = part: text: length (result.splitString part text) > 1;
    splitString = separator: text: filter isString (builtins.split (replaceStrings ["." "\\"] ["\\." "\\\\"] separator) text);
    unique = foldl' (found: value:
      if elem value found
      then found
      else found ++ [value]) [];
    cleanSource = source: source;
    recursiveUpdate = left: right:
      if isAttrs left && isAttrs right
      then
        left
        // mapAttrs (name: new:
          if left ? ${name}
          then result.recursiveUpdate left.${name} new
          else new)
        right
      else right;
  };
in
  result
