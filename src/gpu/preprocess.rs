//! The preprocessor of the WGSL files: imports, conditions and repeated lines. `shaders/README.md` describes it.
//!
//! ```text
//! #import attention/visible                          that file, once, however often it is imported
//! #if STAGED, !DROPOUT                               the lines up to #else or #end, if all conditions hold
//! #else if ALIGNED
//! #else
//! #end
//! #if STAGED: let k = stage[i];                      the line, if the condition holds
//! #else: let k = k_vector(i);
//! #for i in ROWS, j in 2: a$i_$j += x$i * w$j;       the line, for each i and j
//! #for c in xyzw                                     the lines up to #end, for each component
//!     sum += v.$c * w[4u * k + ${#c}u];
//! #end
//! ```
//!
//! A condition is a `bool` constant of the variant, or `!` and one. A range is a number, a `u32` constant, or components such
//! as `xyzw` or `yx`. `$i` is the value, `$#c` the position of a component in its range; before a letter or a digit, `${i}`
//! and `${#c}`. Unknown names and unmatched blocks are errors with file and line.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::iter::Peekable;

use super::{Constant, Constants};
use crate::shaders::Source;

/// Finds the text of a WGSL file by its stem below `shaders/`.
pub(crate) type Library = fn(&str) -> Option<&'static str>;

/// The text of a file and its imports, each import in front of the file that imports it, for a variant with these constants.
pub(crate) fn preprocess(source: Source, library: Library, constants: &Constants) -> Result<String, String> {
    let mut expander = Expander { library, constants, seen: BTreeSet::new(), out: String::new() };
    expander.text(source.stem, source.text).map_err(|message| format!("shaders/{message}"))?;
    Ok(expander.out)
}

struct Expander<'a> {
    library: Library,
    constants: &'a Constants,
    /// The files that are in `out`, or are being expanded.
    seen: BTreeSet<String>,
    out: String,
}

/// A line and its number.
#[derive(Clone, Copy)]
struct Line<'t> {
    number: usize,
    text: &'t str,
}

impl Line<'_> {
    fn error<T>(&self, message: impl Into<String>) -> Result<T, String> {
        Err(format!("{}: {}", self.number, message.into()))
    }
}

/// A part of a file.
enum Node<'t> {
    Text(Line<'t>),
    For {
        at: Line<'t>,
        loops: &'t str,
        body: Vec<Node<'t>>,
    },
    /// The first branch whose conditions hold; those of `#else` are `""`.
    If(Vec<(Line<'t>, &'t str, Vec<Node<'t>>)>),
}

/// A variable of a `#for`: its name, value and position in its range.
type Variable = (char, String, usize);

impl Expander<'_> {
    /// What the file of this stem holds, behind what it imports.
    fn text(&mut self, file: &str, text: &'static str) -> Result<(), String> {
        let mut lines = Vec::new();
        for (number, text) in (1..).zip(text.lines()) {
            match text.strip_prefix("#import ") {
                Some(import) => self.import(import.trim())?,
                None => lines.push(Line { number, text }),
            }
        }
        self.lines(&lines).map_err(|message| format!("{file}.wgsl:{message}"))
    }

    fn import(&mut self, file: &str) -> Result<(), String> {
        if !self.seen.insert(file.to_owned()) {
            return Ok(());
        }
        let text = (self.library)(file).ok_or_else(|| format!("{file}.wgsl: no such file to import"))?;
        self.text(file, text)
    }

    fn lines(&mut self, lines: &[Line<'_>]) -> Result<(), String> {
        let mut rest = lines.iter().copied().peekable();
        let nodes = nodes(&mut rest)?;
        match rest.next() {
            Some(stray) => stray.error(format!("unmatched {}", stray.text.trim())),
            None => self.expand(&nodes, &mut Vec::new()),
        }
    }

    fn expand(&mut self, nodes: &[Node<'_>], scope: &mut Vec<Variable>) -> Result<(), String> {
        for node in nodes {
            match node {
                Node::Text(line) => {
                    let text = substitute(line, line.text, scope)?;
                    let _ = writeln!(self.out, "{text}");
                }
                Node::For { at, loops, body } => {
                    let loops = loops.split(',').map(|one| {
                        let (name, range) = one.trim().split_once(" in ")?;
                        let mut letters = name.trim().chars();
                        let name = letters.next().filter(char::is_ascii_lowercase)?;
                        letters.next().is_none().then_some((name, range.trim()))
                    });
                    match loops.collect::<Option<Vec<_>>>() {
                        Some(loops) => self.repeat(at, &loops, body, scope)?,
                        None => {
                            return at.error("#for takes `letter in range`, and more of that after commas");
                        }
                    }
                }
                Node::If(branches) => {
                    for (at, conditions, body) in branches {
                        if self.all_hold(at, conditions, scope)? {
                            self.expand(body, scope)?;
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        at: &Line<'_>,
        loops: &[(char, &str)],
        body: &[Node<'_>],
        scope: &mut Vec<Variable>,
    ) -> Result<(), String> {
        let [(name, range), inner @ ..] = loops else {
            return self.expand(body, scope);
        };
        for (position, value) in self.values(at, range)?.into_iter().enumerate() {
            scope.push((*name, value, position));
            self.repeat(at, inner, body, scope)?;
            scope.pop();
        }
        Ok(())
    }

    fn values(&self, at: &Line<'_>, range: &str) -> Result<Vec<String>, String> {
        if !range.is_empty() && range.chars().all(|c| "xyzw".contains(c)) {
            return Ok(range.chars().map(String::from).collect());
        }
        let named = self.constants.iter().find(|(name, _)| *name == range);
        let count = match (named, range.parse()) {
            (Some((_, Constant::U32(count))), _) => *count,
            (None, Ok(count)) => count,
            (Some(_), _) => return at.error(format!("{range} is no u32")),
            (None, Err(_)) => return at.error(format!("unknown range {range}")),
        };
        Ok((0..count).map(|i| i.to_string()).collect())
    }

    fn all_hold(&self, at: &Line<'_>, conditions: &str, scope: &[Variable]) -> Result<bool, String> {
        let mut all = true;
        for condition in substitute(at, conditions, scope)?.split(',').map(str::trim) {
            let (name, wanted) = match condition.strip_prefix('!') {
                Some(name) => (name, false),
                None => (condition, true),
            };
            all &= match self.constants.iter().find(|(known, _)| *known == name) {
                _ if conditions.is_empty() => true,
                Some((_, Constant::Bool(value))) => *value == wanted,
                Some(_) => return at.error(format!("{name} is no bool")),
                None => return at.error(format!("unknown condition {name}")),
            };
        }
        Ok(all)
    }
}

/// The nodes up to the end, or up to an `#else` or `#end` of the enclosing block.
fn nodes<'t>(lines: &mut Peekable<impl Iterator<Item = Line<'t>>>) -> Result<Vec<Node<'t>>, String> {
    let mut all = Vec::new();
    while let Some(line) = lines.next_if(|line| !closes(line.text.trim_start())) {
        let text = line.text.trim_start();
        if let Some(rest) = text.strip_prefix("#for ") {
            let (loops, body) = match rest.split_once(':') {
                Some((loops, text)) => (loops, vec![inline(line, text)?]),
                None => (rest, block(line, lines)?),
            };
            all.push(Node::For { at: line, loops, body });
        } else if let Some(rest) = text.strip_prefix("#if ") {
            all.push(branches(line, rest, lines)?);
        } else if text.starts_with('#') {
            return line.error(format!("unknown directive {text}"));
        } else {
            all.push(Node::Text(line));
        }
    }
    Ok(all)
}

fn closes(text: &str) -> bool {
    text.starts_with("#else") || text.starts_with("#end")
}

/// The nodes up to the `#end` that closes the directive of line `opened`.
fn block<'t>(
    opened: Line<'t>,
    lines: &mut Peekable<impl Iterator<Item = Line<'t>>>,
) -> Result<Vec<Node<'t>>, String> {
    let body = nodes(lines)?;
    end(opened, lines)?;
    Ok(body)
}

fn end<'t>(opened: Line<'t>, lines: &mut Peekable<impl Iterator<Item = Line<'t>>>) -> Result<(), String> {
    match lines.next() {
        Some(line) if line.text.trim() == "#end" => Ok(()),
        Some(line) => line.error(format!("{} where #end is expected", line.text.trim())),
        None => opened.error(format!("{} without #end", opened.text.trim())),
    }
}

/// The rest of a line after a colon: text, or a directive with its own colon.
fn inline<'t>(at: Line<'t>, text: &'t str) -> Result<Node<'t>, String> {
    let text = text.trim();
    let (is_for, rest) = match (text.strip_prefix("#for "), text.strip_prefix("#if ")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ if text.starts_with('#') => return at.error(format!("unknown directive {text}")),
        _ => return Ok(Node::Text(Line { text, ..at })),
    };
    let Some((head, body)) = rest.split_once(':') else {
        return at.error("a directive behind a colon has a colon of its own");
    };
    let body = vec![inline(at, body)?];
    Ok(if is_for { Node::For { at, loops: head, body } } else { Node::If(vec![(at, head, body)]) })
}

/// An `#if` with its `#else if` and `#else`.
fn branches<'t>(
    opened: Line<'t>,
    rest: &'t str,
    lines: &mut Peekable<impl Iterator<Item = Line<'t>>>,
) -> Result<Node<'t>, String> {
    let mut all = Vec::new();
    let (mut at, mut rest, mut is_last) = (opened, rest, false);
    loop {
        let (conditions, body, is_block) = match rest.split_once(':') {
            Some((conditions, text)) => (conditions, vec![inline(at, text)?], false),
            None => (rest, nodes(lines)?, true),
        };
        if conditions.trim().is_empty() != is_last {
            return at.error("conditions are missing");
        }
        all.push((at, conditions.trim(), body));
        let next = lines.next_if(|line| {
            let text = line.text.trim_start();
            // A one-line branch continues only with a one-line branch.
            !is_last && text.starts_with("#else") && is_block != text.contains(':')
        });
        let Some(next) = next else {
            if is_block {
                end(opened, lines)?;
            }
            return Ok(Node::If(all));
        };
        let text = next.text.trim_start();
        (at, rest) = match (text.strip_prefix("#else if "), text.strip_prefix("#else")) {
            (Some(rest), _) => (next, rest),
            (None, Some(rest)) if rest.trim().is_empty() || rest.starts_with(':') => {
                is_last = true;
                (next, rest)
            }
            _ => return next.error(format!("unknown directive {text}")),
        };
    }
}

/// The text with the variables of `#for` filled in.
fn substitute(at: &Line<'_>, text: &str, scope: &[Variable]) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let braced = after.strip_prefix('{');
        let (name, behind) = match braced.and_then(|inner| inner.split_once('}')) {
            Some(split) => split,
            None if braced.is_some() => return at.error("${ without }"),
            None => {
                let length = if after.starts_with('#') { 2 } else { 1 };
                after.split_at_checked(length).unwrap_or((after, ""))
            }
        };
        let (letter, position_wanted) = match name.strip_prefix('#') {
            Some(letter) => (letter, true),
            None => (name, false),
        };
        let mut letters = letter.chars();
        let known = letters.next().and_then(|letter| scope.iter().rev().find(|(name, ..)| *name == letter));
        let Some((_, value, position)) = known.filter(|_| letters.next().is_none()) else {
            return at.error(format!("unknown variable ${name}"));
        };
        if braced.is_none() && behind.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return at.error(format!("${name} before a letter or a digit is written ${{{name}}}"));
        }
        if position_wanted {
            let _ = write!(out, "{position}");
        } else {
            out.push_str(value);
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSTANTS: [(&str, Constant); 3] =
        [("ROWS", Constant::U32(2)), ("DROP", Constant::Bool(true)), ("KEEP", Constant::Bool(false))];

    /// The text as the file `main`, beside files to import.
    fn expand(text: &str) -> Result<String, String> {
        let mut expander =
            Expander { library, constants: &CONSTANTS, seen: BTreeSet::new(), out: String::new() };
        let lines: Vec<_> = (1..).zip(text.lines()).map(|(number, text)| Line { number, text }).collect();
        expander.lines(&lines)?;
        Ok(expander.out)
    }

    fn source(stem: &'static str) -> Source {
        Source { stem, text: library(stem).unwrap() }
    }

    fn library(file: &str) -> Option<&'static str> {
        match file {
            "top" => Some("// top\n#import left\n#import right\nend of top"),
            "left" => Some("#import base\nleft"),
            "right" => Some("#import base\n#if KEEP: no\nright"),
            "base" => Some("base"),
            "stray" => Some("fine\n#end"),
            "missing" => Some("#import nowhere"),
            _ => None,
        }
    }

    #[test]
    fn lines_and_blocks_are_repeated() {
        let text = "before\n#for i in ROWS, j in 2: a$i_$j;\n#for c in xyzw\n  v.$c + ${#c}u\n  #for i in ROWS: b$c$i\n#end\nafter";
        let expected = "before\na0_0;\na0_1;\na1_0;\na1_1;\n  v.x + 0u\nbx0\nbx1\n  v.y + 1u\nby0\nby1\n  v.z + 2u\nbz0\nbz1\n  v.w + 3u\nbw0\nbw1\nafter\n";
        assert_eq!(expand(text).unwrap(), expected);
        assert_eq!(expand("#for i in 0: x").unwrap(), "");
        assert_eq!(expand("#for i in 2\n#for j in 2\n$i$j\n#end\n#end").unwrap(), "00\n01\n10\n11\n");
        assert_eq!(expand("#for i in yx\n#if !KEEP: #for j in 2: $i$j\n#end").unwrap(), "y0\ny1\nx0\nx1\n");
    }

    #[test]
    fn the_first_branch_that_holds_is_taken() {
        assert_eq!(expand("#if DROP\nyes\n#if !DROP: no\n#end\n#if DROP, KEEP: no").unwrap(), "yes\n");
        let chain = "#if KEEP\na\n#else if DROP\n#if KEEP: b\n#else: c\n#else\nd\n#end\ne";
        assert_eq!(expand(chain).unwrap(), "c\ne\n");
        assert_eq!(expand("#if KEEP\na\n#else\nb\n#end").unwrap(), "b\n");
        assert_eq!(expand("#if KEEP: a\n#else if KEEP: b\n#else: c\nd").unwrap(), "c\nd\n");
        assert_eq!(expand("#if DROP\n#if KEEP: a\n#else\nb\n#end").unwrap(), "");
    }

    #[test]
    fn imports_come_once_and_before_what_imports_them() {
        let expanded = preprocess(source("top"), library, &CONSTANTS).unwrap();
        assert_eq!(expanded, "base\nleft\nright\n// top\nend of top\n");
    }

    #[test]
    fn the_example_of_shaders_readme_becomes_what_it_says() {
        let readme = include_str!("../../shaders/README.md");
        let mut blocks = readme.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
        let (example, expanded) = (blocks.next().unwrap(), blocks.next().unwrap());
        let example = example.replacen("#import shared/grid\n", "", 1).replace("STAGED", "KEEP");
        let expected = expanded.strip_prefix("(the text of shared/grid.wgsl)\n").unwrap();
        assert_eq!(expand(&example).unwrap(), expected);
    }

    #[test]
    fn errors_tell_file_and_line() {
        for (file, expected) in [
            ("stray", "shaders/stray.wgsl:2: unmatched #end"),
            ("missing", "shaders/nowhere.wgsl: no such file to import"),
        ] {
            assert_eq!(preprocess(source(file), library, &CONSTANTS).unwrap_err(), expected);
        }
        for (text, expected) in [
            ("\n#for i in NONE: x", "2: unknown range NONE"),
            ("#for i in DROP: x", "1: DROP is no u32"),
            ("#for in DROP: x", "1: #for takes `letter in range`, and more of that after commas"),
            ("#if NONE: x", "1: unknown condition NONE"),
            ("#if ROWS: x", "1: ROWS is no bool"),
            ("#if : x", "1: conditions are missing"),
            ("a\n#if DROP\nb", "2: #if DROP without #end"),
            ("#for i in 2\nb\n#else", "3: #else where #end is expected"),
            ("#if DROP\n#else\n#else\n#end", "3: #else where #end is expected"),
            ("#else: x", "1: unmatched #else: x"),
            ("#fro i in 2: x", "1: unknown directive #fro i in 2: x"),
            ("#for i in 2: #if DROP", "1: a directive behind a colon has a colon of its own"),
            ("#for i in 1\n$j\n#end", "2: unknown variable $j"),
            ("#for i in 1: $iu", "1: $i before a letter or a digit is written ${i}"),
            ("#for i in 1: ${i", "1: ${ without }"),
        ] {
            assert_eq!(expand(text).unwrap_err(), expected, "{text}");
        }
    }
}
