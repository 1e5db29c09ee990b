//! Finds out which test programs call which driver function, from the programs' sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::Table;

/// Folders of programs; in the second the name of a driver function is a string.
const FOLDERS: [&str; 2] = ["tests/conformance", "tests/programs"];
/// What every program of the first folder includes.
const COMMON: &str = "check.h";
/// The program that calls whatever the table refuses.
const REFUSED: &str = "table_refused";
/// Names that cuda.h does not map to the newest symbol of that name.
const PLAIN: [(&str, &str); 9] = [
    ("cuCtxGetDevice", "cuCtxGetDevice"),
    ("cuCtxSynchronize", "cuCtxSynchronize"),
    ("cuGraphAddNode", "cuGraphAddNode_v2"),
    ("cuGraphInstantiate", "cuGraphInstantiateWithFlags"),
    ("cuGraphNodeSetParams", "cuGraphNodeSetParams"),
    ("cuLaunchHostFunc", "cuLaunchHostFunc"),
    ("cuMulticastBindAddr", "cuMulticastBindAddr"),
    ("cuMulticastBindMem", "cuMulticastBindMem"),
    ("cuStreamGetCtx", "cuStreamGetCtx"),
];

/// Programs by the symbol that they call.
pub struct Tested(BTreeMap<String, BTreeSet<String>>);

impl Tested {
    /// Reads the programs of the workspace at `root`.
    pub fn read(table: &Table, root: &Path) -> Tested {
        let mut tested = Tested(BTreeMap::new());
        for file in FOLDERS.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).into_iter().flatten()) {
            let path = file.map(|file| file.path()).unwrap_or_default();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let program = match name.strip_suffix(".c").or(name.strip_suffix(".cu")) {
                Some(program) => program,
                None if name == COMMON && path.parent().is_some_and(|folder| folder.ends_with(FOLDERS[0])) => "all",
                None => continue,
            };
            for symbol in called(table, &with_headers(&path)) {
                tested.0.entry(symbol).or_default().insert(program.to_string());
            }
        }
        for function in table.driver_functions().filter(|f| f.class == crate::Class::Refused) {
            tested.0.entry(function.name.clone()).or_default().insert(REFUSED.to_string());
        }
        tested
    }

    /// The programs that call a symbol, the first few by name.
    pub fn by(&self, symbol: &str) -> String {
        const NAMED: usize = 3;
        let Some(programs) = self.0.get(symbol) else { return String::new() };
        let named: Vec<&str> = programs.iter().take(NAMED).map(String::as_str).collect();
        match programs.len().saturating_sub(NAMED) {
            0 => named.join(", "),
            more => format!("{} and {more} more", named.join(", ")),
        }
    }

    /// How many symbols some program calls.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// A C source and the headers beside it that it includes, but for what all programs include.
fn with_headers(path: &Path) -> String {
    let mut source = std::fs::read_to_string(path).unwrap_or_default();
    let included = |line: &str| Some(line.strip_prefix("#include \"")?.strip_suffix('"')?.to_string());
    let headers: Vec<String> = source.lines().filter_map(included).filter(|name| name != COMMON).collect();
    for header in headers {
        source += &std::fs::read_to_string(path.with_file_name(header)).unwrap_or_default();
    }
    source
}

/// The symbols that a C source calls.
fn called(table: &Table, source: &str) -> BTreeSet<String> {
    let source = without_comments(source);
    let mut symbols = BTreeSet::new();
    let mut in_string = false;
    let mut word = String::new();
    let mut before = '\n';
    for c in source.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
        } else if !word.is_empty() {
            symbols.extend(symbol(table, &std::mem::take(&mut word), in_string, &source));
        }
        if c == '\n' || (c == '"' && before != '\\') {
            in_string = c == '"' && !in_string;
        }
        before = c;
    }
    symbols
}

/// What a word stands for. In a string, and after an `#undef`, a name is the symbol itself.
fn symbol(table: &Table, word: &str, in_string: bool, source: &str) -> Option<String> {
    let bare = word.strip_suffix("_ptsz").or(word.strip_suffix("_ptds")).unwrap_or(word);
    let variants = || table.driver_functions().filter(|f| f.base == bare);
    let itself = table.driver_functions().find(|f| f.name == bare);
    let exact = in_string || variants().next().is_none() || source.contains(&format!("#undef {bare}\n"));
    if exact && itself.is_some() {
        return itself.map(|f| f.name.clone());
    }
    if let Some((_, symbol)) = PLAIN.iter().find(|(name, _)| *name == bare) {
        return Some(symbol.to_string());
    }
    variants().max_by_key(|f| f.since).map(|f| f.name.clone())
}

fn without_comments(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(start) = [rest.find("//"), rest.find("/*")].into_iter().flatten().min() {
        out.push_str(&rest[..start]);
        let (end, skip) = match rest[start..].starts_with("//") {
            true => ("\n", 0),
            false => ("*/", 2),
        };
        rest = rest[start..].find(end).map_or("", |length| &rest[start + length + skip..]);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<String> {
        let table = Table::parse(
            "cuMemAlloc 2000 refused\ncuMemAlloc_v2 3020 sync(dptr: out u64, bytesize: usize)\ncuInit 2000 local(Flags: u32)\n\
             cuCtxSynchronize 2000 blocking()\ncuCtxSynchronize_v2 13000 blocking()\n",
        );
        called(&table.unwrap(), source).into_iter().collect()
    }

    #[test]
    fn test_calls_are_mapped_as_cuda_h_maps_them() {
        assert_eq!(
            names("int main(void) { cuMemAlloc(&p, 1); cuCtxSynchronize(); }"),
            ["cuCtxSynchronize", "cuMemAlloc_v2"]
        );
    }

    #[test]
    fn test_strings_and_undefined_names_are_symbols_themselves() {
        assert_eq!(names("dlsym(library, \"cuMemAlloc\");"), ["cuMemAlloc"]);
        assert_eq!(names("#undef cuMemAlloc\ncuMemAlloc(p, 1);"), ["cuMemAlloc"]);
        assert_eq!(names("cuMemAlloc_v2(p, 1);"), ["cuMemAlloc_v2"]);
    }

    #[test]
    fn test_comments_are_no_calls() {
        assert_eq!(names("// cuInit\n/* cuMemAlloc */ cuInitialised();"), Vec::<String>::new());
    }
}
