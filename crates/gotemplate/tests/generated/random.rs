//! Choices that are the same for the same seed.

pub struct Random(u64);

impl Random {
    /// A source for a topic. `JUDGE_SEED` makes it another one.
    pub fn seeded(topic: u64) -> Self {
        let seed = std::env::var("JUDGE_SEED").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let mut random = Self(topic.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed);
        random.below(1);
        random
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }

    pub fn choose<'a, T: ?Sized>(&mut self, among: &[&'a T]) -> &'a T {
        among[self.below(among.len())]
    }

    /// Pieces one after the other, at least one and at most so many.
    pub fn chain(&mut self, among: &[&str], most: usize) -> String {
        (0..=self.below(most)).map(|_| self.choose(among)).collect()
    }
}

/// How often something is tried.
pub fn times(usual: usize) -> usize {
    if std::env::var("JUDGE_FULL").is_ok() { usual * 20 } else { usual }
}
