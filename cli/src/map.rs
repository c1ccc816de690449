//! `gqa run --map`: what heads attend to, drawn with characters.

use gqa::Array;

use crate::say;

/// The widest and highest map of one head, in characters. A longer sequence is joined into so many cells.
const COLUMNS: usize = 36;
const ROWS: usize = 18;

/// Draws, for the first batch element of scores `[B,H,T,S]`, the first and the last of the heads that share a key/value
/// head side by side.
pub(crate) fn draw(scores: &Array, group: usize) {
    let &[_, heads, t, s] = scores.shape() else { return };
    let (columns, rows) = (s.min(COLUMNS), t.min(ROWS));
    say!("\nwhat heads attend to: a row is a query, a column a key, from ' ' (nothing) to '█'");
    for first in (0..heads).step_by(group) {
        let mut members = vec![first, first + group - 1];
        members.dedup();
        let maps: Vec<_> = members
            .iter()
            .map(|h| cells(&scores.data()[h * t * s..][..t * s], [t, s], [rows, columns]))
            .collect();
        let titles: Vec<_> = members.iter().map(|h| format!("{:columns$}", format!("head {h}"))).collect();
        say!("\n  {}   of key/value head {}", titles.join("   "), first / group);
        for row in 0..rows {
            let line: Vec<String> = maps
                .iter()
                .map(|map| map[row * columns..][..columns].iter().map(|&p| shade(p)).collect())
                .collect();
            say!("  {}", line.join("   "));
        }
    }
    say!("");
}

/// The map of one head: each cell the largest probability of those it joins, as a part of the largest of its row.
fn cells(probs: &[f32], [t, s]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut cells = vec![0f32; rows * columns];
    for (i, &p) in probs.iter().enumerate() {
        let cell = &mut cells[(i / s) * rows / t * columns + (i % s) * columns / s];
        *cell = cell.max(p);
    }
    for row in cells.chunks_mut(columns) {
        let largest = row.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        row.iter_mut().for_each(|cell| *cell /= largest);
    }
    cells
}

fn shade(p: f32) -> char {
    // The square root shows what is weak.
    match p.sqrt() {
        p if p > 0.9 => '█',
        p if p > 0.7 => '▓',
        p if p > 0.5 => '▒',
        p if p > 0.3 => '░',
        p if p > 0.1 => '·',
        _ => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_join_queries_and_keys_and_keep_the_largest() {
        let probs = [0.1, 0.2, 0.0, 0.0, 0.0, 0.8, 0.4, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.2];
        assert_eq!(cells(&probs, [4, 4], [2, 2]), [1.0, 0.5, 0.0, 1.0]);
        assert_eq!(cells(&[0.0; 6], [2, 3], [2, 3]), [0.0; 6]);
        assert_eq!((shade(0.0), shade(1.0), shade(f32::NAN)), (' ', '█', ' '));
    }
}
