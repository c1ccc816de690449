//! Figures and dates as people read them.

use gqa::bench::Row;

/// `x` > 0 with so many digits, thousands grouped; in powers of ten if it is very small or very large.
pub(crate) fn figure(x: f64, digits: usize) -> String {
    let after_first = digits.saturating_sub(1);
    let scientific = format!("{x:.after_first$e}");
    // Read from the rounded figure: 9.999 may have become 10.0.
    let magnitude: i32 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    if !(-4..9).contains(&magnitude) {
        return scientific;
    }
    let decimals = usize::try_from(after_first as i32 - magnitude).unwrap_or(0);
    let text = format!("{x:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    group(whole) + fraction
}

/// A round figure on an axis, 0 too, with no more digits than it has.
pub(crate) fn tick(x: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    let text = figure(x, 3);
    let (number, power) = text.split_at(text.find('e').unwrap_or(text.len()));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number}{power}")
}

/// A count with its thousands grouped: 1,024.
pub(crate) fn count(n: usize) -> String {
    group(&n.to_string())
}

fn group(digits: &str) -> String {
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `n` of something: `1 row`, `2 rows`.
pub(crate) fn many(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A time.
pub(crate) fn ms(x: f64) -> String {
    figure(x, 4)
}

/// A share of 1 in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{}%", figure(share * 100.0, 2))
}

/// How many times as long.
pub(crate) fn times(ratio: f64) -> String {
    format!("{}×", figure(ratio, 3))
}

/// 10⁹ floating-point operations a second.
pub(crate) fn gflops(row: &Row) -> String {
    figure(row.flops / row.time.median / 1e6, 3)
}

/// The shape of a row in the names of the library's documentation. Lines break between sizes alone.
pub(crate) fn shape(row: &Row) -> String {
    let size = |name: &str, n: usize| (n > 0).then(|| format!("{name}\u{a0}{}", count(n)));
    let heads = match (row.query_heads, row.key_heads) {
        (h, hkv) if h > 0 && hkv > 0 => Some(format!("H\u{a0}{}/{}", count(h), count(hkv))),
        (h, _) => size("H", h),
    };
    let sizes = [
        size("B", row.batch),
        size("T", row.query_len),
        size("S", row.key_len),
        heads,
        size("D", row.head_dim),
        size("C", row.features),
        Some(row.dtype.clone()),
    ];
    sizes.into_iter().flatten().collect::<Vec<_>>().join("\u{a0}· ")
}

/// The day, UTC; none if the calendar does not reach that far.
pub(crate) fn date(unix: u64) -> Option<String> {
    at(unix, "%Y-%m-%d")
}

/// The day and the minute, UTC.
pub(crate) fn minute(unix: u64) -> Option<String> {
    at(unix, "%Y-%m-%d %H:%M")
}

/// The day and the second, UTC.
pub(crate) fn date_time(unix: u64) -> Option<String> {
    at(unix, "%Y-%m-%d %H:%M:%S")
}

fn at(unix: u64, pattern: &str) -> Option<String> {
    let time = jiff::Timestamp::from_second(i64::try_from(unix).ok()?).ok()?;
    Some(time.strftime(pattern).to_string())
}

/// At most `most` characters, the last an ellipsis if there were more.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    let start: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", start.trim_end())
}

/// The words that all of `titles` begin with. Separators at their ends do not tell words apart.
pub(crate) fn common_start(titles: &[&str]) -> String {
    let Some((first, others)) = titles.split_first() else { return String::new() };
    let words: Vec<_> = first.split_whitespace().collect();
    let common = others.iter().fold(words.len(), |common, title| {
        let same = words.iter().zip(title.split_whitespace()).take_while(|(a, b)| bare(a) == bare(b)).count();
        common.min(same)
    });
    words[..common].join(" ")
}

/// The words that all of `titles` have, each at the same place.
pub(crate) fn common_words(titles: &[&str]) -> String {
    let Some((first, others)) = titles.split_first() else { return String::new() };
    let everywhere = |&(i, word): &(usize, &str)| {
        others.iter().all(|title| title.split_whitespace().nth(i).is_some_and(|own| own == word))
    };
    let words = first.split_whitespace().enumerate().filter(everywhere);
    words.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
}

/// The words of `title` after the first `start` of them.
pub(crate) fn after(title: &str, start: &str) -> String {
    let skip = start.split_whitespace().count();
    title.split_whitespace().skip(skip).collect::<Vec<_>>().join(" ")
}

/// A text without the separators at its ends.
pub(crate) fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || "·,:;=|/–—-".contains(c))
}

/// A share on an axis.
pub(crate) fn share_tick(share: f64) -> String {
    format!("{}%", tick(share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_digits_and_no_more() {
        let cases = [
            (12.344, 4, "12.34"),
            (0.04567, 4, "0.04567"),
            (9.9999, 4, "10.00"),
            (999.96, 4, "1,000"),
            (1_234_567.8, 4, "1,234,568"),
            (1.0, 3, "1.00"),
            (0.3, 2, "0.30"),
            (123.4, 2, "123"),
            (0.000_02, 3, "2.00e-5"),
            (3.2e12, 3, "3.20e12"),
        ];
        for (x, digits, expected) in cases {
            assert_eq!(figure(x, digits), expected);
        }
        assert_eq!(
            (percent(0.4149), percent(1.0), percent(0.004)),
            ("41%".into(), "100%".into(), "0.40%".into())
        );
    }

    #[test]
    fn ticks_are_written_whole() {
        let ticks = [0.0, 1.5, 0.1 * 3.0, 25.0, 2_000.0, 1e-6, 1.0, 120.0];
        assert_eq!(ticks.map(tick), ["0", "1.5", "0.3", "25", "2,000", "1e-6", "1", "120"]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date_time(1_709_210_096).as_deref(), Some("2024-02-29 12:34:56"));
        assert_eq!(date(0).as_deref(), Some("1970-01-01"));
        assert_eq!(date(u64::MAX), None);
    }

    #[test]
    fn titles_are_split_where_they_begin_to_differ() {
        let titles = ["up 8 × 64 · plain", "up 8 × 64 · tiled k", "up 8 × 64 · tiled"];
        let start = common_start(&titles);
        assert_eq!((bare(&start), after(titles[1], &start)), ("up 8 × 64", "tiled k".into()));
        assert_eq!(common_start(&titles[..1]), titles[0]);
        assert_eq!(common_start(&["a b", "c b"]), "");
        assert_eq!(common_start(&["up 8 × 64", "up 8 × 64, tiled"]), "up 8 × 64");
        assert_eq!(
            common_words(&["T512 causal, window 256", "T1024 causal, window 256"]),
            "causal, window 256"
        );
        assert_eq!(common_words(&["T512", "T1024"]), "");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shorten("naïve", 5), "naïve");
        assert_eq!(shorten("naïveté", 5), "naïv…");
    }
}
