//! The word somebody probably meant.

/// The closest of `words` to `written`, if any is close.
#[must_use]
pub fn nearest<'a>(written: &str, words: &[&'a str]) -> Option<&'a str> {
    // Nothing we know is longer; the distance of two long texts costs their product.
    if written.len() > 64 {
        return None;
    }
    let most = (written.chars().count() / 3).max(1);
    words
        .iter()
        .map(|word| (distance(&folded(written), &folded(word)), *word))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// `stop_grace_period` and `StopGracePeriod` are both `stopGracePeriod`.
fn folded(word: &str) -> Vec<char> {
    word.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (y, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let cost = (corner + usize::from(x != y)).min(left + 1).min(*above + 1);
            corner = *above;
            *above = cost;
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_somebody_meant_is_found() {
        let words = ["replicas", "routes", "stopGracePeriod", "image"];
        assert_eq!(nearest("replica", &words), Some("replicas"));
        assert_eq!(nearest("Replicas", &words), Some("replicas"));
        assert_eq!(
            nearest("stop_grace_period", &words),
            Some("stopGracePeriod")
        );
        assert_eq!(nearest("imgae", &words), None);
        assert_eq!(nearest("imge", &words), Some("image"));
        assert_eq!(nearest("volumes", &words), None);
        assert_eq!(nearest("", &words), None);
    }
}
