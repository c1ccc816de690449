//! Repeated and conditional lines: what WGSL has no word for, since arrays of registers are not registers on every driver.
//!
//! ```text
//! #for i in ROWS, j in 2: a$i_$j += x$i * w$j;        the line, for each i and j
//! #for c in xyzw                                     the lines up to #end, for each component
//!     sum += v.$c * w[4u * k + $#cu];
//! #end
//! #if STAGED, !DROPOUT                               the lines up to #end, if all of it is so
//! #end
//! ```
//!
//! A range is a number, a `u32` constant of the variant, or components such as `xyzw` or `yx`. `$i` is the value, `$#c` the
//! position of a component in its range.

use std::fmt::Write as _;

use super::{Constant, Constants};

/// The text with every `#for` and `#if` written out. An unknown range or condition gives nothing, which no test of a
/// kernel misses.
pub(super) fn unroll(text: &str, constants: &Constants) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    block(&lines, constants, &mut out);
    out
}

fn block(lines: &[&str], constants: &Constants, out: &mut String) {
    let mut rest = lines;
    while let [line, after @ ..] = rest {
        rest = after;
        let line_trimmed = line.trim_start();
        if !is_directive(line_trimmed) {
            let _ = writeln!(out, "{line}");
            continue;
        }
        let (head, body) = match line_trimmed.split_once(':') {
            Some((head, body)) => (head, vec![body.trim()]),
            None => {
                let end = end_of_block(rest);
                let body = rest[..end].to_vec();
                rest = rest.get(end + 1..).unwrap_or(&[]);
                (line_trimmed, body)
            }
        };
        if let Some(loops) = head.strip_prefix("#for ") {
            let loops: Vec<_> = loops.split(',').filter_map(|one| one.trim().split_once(" in ")).collect();
            repeat(&loops, &body, constants, out);
        } else if let Some(conditions) = head.strip_prefix("#if ")
            && conditions.split(',').all(|condition| holds(condition.trim(), constants))
        {
            block(&body, constants, out);
        }
    }
}

fn is_directive(line: &str) -> bool {
    line.starts_with("#for ") || line.starts_with("#if ")
}

fn holds(condition: &str, constants: &Constants) -> bool {
    let (name, wanted) = match condition.strip_prefix('!') {
        Some(name) => (name, false),
        None => (condition, true),
    };
    constants.iter().any(|(known, value)| *known == name && *value == Constant::Bool(wanted))
}

/// The line of the `#end` that closes a block.
fn end_of_block(lines: &[&str]) -> usize {
    let mut depth = 1;
    for (i, line) in lines.iter().enumerate() {
        let line = line.trim_start();
        if is_directive(line) && !line.contains(':') {
            depth += 1;
        } else if line.starts_with("#end") {
            depth -= 1;
        }
        if depth == 0 {
            return i;
        }
    }
    lines.len()
}

fn repeat(loops: &[(&str, &str)], body: &[&str], constants: &Constants, out: &mut String) {
    let [(name, range), inner @ ..] = loops else {
        return block(body, constants, out);
    };
    let range = range.trim();
    let values: Vec<String> = if range.chars().all(|c| "xyzw".contains(c)) {
        range.chars().map(String::from).collect()
    } else {
        let named = constants.iter().find(|(name, _)| *name == range).and_then(|(_, value)| match value {
            Constant::U32(value) => Some(*value),
            Constant::Bool(_) => None,
        });
        (0..named.or(range.parse().ok()).unwrap_or(0)).map(|i| i.to_string()).collect()
    };
    for (position, value) in values.iter().enumerate() {
        let lines: Vec<String> = body
            .iter()
            .map(|line| {
                line.replace(&format!("$#{name}"), &position.to_string()).replace(&format!("${name}"), value)
            })
            .collect();
        repeat(inner, &lines.iter().map(String::as_str).collect::<Vec<_>>(), constants, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_blocks_are_written_out() {
        let constants = [("ROWS", Constant::U32(2)), ("DROP", Constant::Bool(true))];
        let text = "before\n#for i in ROWS, j in 2: a$i_$j;\n#for c in xyzw\n  v.$c + $#cu\n  #for i in ROWS: b$c$i\n#end\nafter";
        let expected = "before\na0_0;\na0_1;\na1_0;\na1_1;\n  v.x + 0u\nbx0\nbx1\n  v.y + 1u\nby0\nby1\n  v.z + 2u\nbz0\nbz1\n  v.w + 3u\nbw0\nbw1\nafter\n";
        assert_eq!(unroll(text, &constants), expected);
        assert_eq!(unroll("#for i in DROP: x\n#for i in NONE: x\n#for i in 0: x", &constants), "");
        assert_eq!(
            unroll("#if DROP\nyes\n#if !DROP: no\n#end\n#if NONE\nno\n#end\n#if DROP, NONE: no", &constants),
            "yes\n"
        );
        assert_eq!(unroll("#for i in 2\n#for j in 2\n$i$j\n#end\n#end", &[]), "00\n01\n10\n11\n");
    }
}
