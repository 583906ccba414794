//! How far the scores of one run are from those of an exact one, and what becomes of the order.
//!
//! Invariants: every figure is finite, and what the pairs cannot tell, as the order of a single document, is `None`.
//! Documents are ordered by margin, as the server ranks them, so that scores which round to one number are no tie. Called
//! by [`super`].

/// What two runs gave for the documents of a query, in the same order; all of it is finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Margins {
    /// The exact run's.
    pub exact: Vec<f32>,
    /// The other run's.
    pub other: Vec<f32>,
}

/// How well two runs agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Largest difference of two scores.
    pub score_difference_max: f64,
    /// Mean difference of two scores.
    pub score_difference_mean: f64,
    /// Root of the mean square of what a margin is off.
    pub margin_error_rms: f64,
    /// The same as a share of the standard deviation of the exact margins around the mean of their query, all queries with
    /// several documents taken together. `None` where margins differ in no query.
    pub margin_error_share: Option<f64>,
    /// Kendall's tau-b of the two orders, the mean over the queries. `None` where no query has documents in an order.
    pub kendall_tau: Option<f64>,
    /// Normalised discounted cumulative gain of the other order's first ten, the mean over the queries with several
    /// documents. A document's gain is the logistic function of its exact margin; the exact order has 1.
    pub ndcg_at_10: Option<f64>,
    /// Share of the queries with several documents whose first one is the same.
    pub top_1: Option<f64>,
    /// Share of the exact order's first ten that are among the other's, the mean over the queries with more than ten.
    pub top_10: Option<f64>,
}

/// Places that count at the head of an order.
const HEAD: usize = 10;

impl Agreement {
    /// How well the runs agree on `queries`, where `score` makes a score of a margin.
    pub fn of(queries: &[Margins], score: impl Fn(f32) -> f32) -> Self {
        let scores = |query: &Margins| {
            let pairs = query.exact.iter().zip(&query.other);
            pairs.map(|(&a, &b)| (f64::from(score(a)) - f64::from(score(b))).abs()).collect::<Vec<_>>()
        };
        let differences: Vec<f64> = queries.iter().flat_map(scores).collect();
        let several: Vec<&Margins> = queries.iter().filter(|query| query.exact.len() > 1).collect();
        let spread = rms(several.iter().flat_map(|query| query.deviations()));
        let error = rms(several.iter().flat_map(|query| query.errors()));
        let more: Vec<&&Margins> = several.iter().filter(|query| query.exact.len() > HEAD).collect();
        Self {
            score_difference_max: differences.iter().copied().fold(0.0, f64::max),
            score_difference_mean: mean(differences).unwrap_or(0.0),
            margin_error_rms: rms(queries.iter().flat_map(Margins::errors)).unwrap_or(0.0),
            margin_error_share: error
                .zip(spread)
                .filter(|(_, spread)| *spread > 0.0)
                .map(|(error, spread)| error / spread),
            kendall_tau: mean(several.iter().filter_map(|query| query.tau())),
            ndcg_at_10: mean(several.iter().map(|query| query.ndcg(HEAD))),
            top_1: mean(several.iter().map(|query| query.kept(1))),
            top_10: mean(more.iter().map(|query| query.kept(HEAD))),
        }
    }
}

impl Margins {
    fn errors(&self) -> impl Iterator<Item = f64> {
        self.exact.iter().zip(&self.other).map(|(&exact, &other)| f64::from(other) - f64::from(exact))
    }

    /// How far each exact margin is from their mean.
    fn deviations(&self) -> impl Iterator<Item = f64> {
        let middle = mean(self.exact.iter().copied().map(f64::from)).unwrap_or(0.0);
        self.exact.iter().map(move |&margin| f64::from(margin) - middle)
    }

    /// Kendall's tau-b: 0 if the other run tells no document from another, `None` if the exact one doesn't, for then there
    /// is no order to keep.
    fn tau(&self) -> Option<f64> {
        let sign = |a: f32, b: f32| i64::from(a > b) - i64::from(a < b);
        let (mut agreeing, mut in_exact, mut in_other) = (0, 0, 0);
        for i in 0..self.exact.len() {
            for j in 0..i {
                let exact = sign(self.exact[i], self.exact[j]);
                let other = sign(self.other[i], self.other[j]);
                agreeing += exact * other;
                in_exact += exact.abs();
                in_other += other.abs();
            }
        }
        match (in_exact, in_other) {
            (0, _) => None,
            (_, 0) => Some(0.0),
            _ => Some(agreeing as f64 / (in_exact as f64 * in_other as f64).sqrt()),
        }
    }

    fn ndcg(&self, places: usize) -> f64 {
        let gain = |document: usize| 1.0 / (1.0 + (-f64::from(self.exact[document])).exp());
        let cumulative = |order: Vec<usize>| -> f64 {
            order
                .into_iter()
                .take(places)
                .zip(2_u32..)
                .map(|(document, place)| gain(document) / f64::from(place).log2())
                .sum()
        };
        match cumulative(order(&self.exact)) {
            // Nothing to lose.
            0.0 => 1.0,
            best => cumulative(order(&self.other)) / best,
        }
    }

    /// The share of the exact order's first `places` that are among the other's; a document as good as the last of them
    /// may stand in its place.
    fn kept(&self, places: usize) -> f64 {
        let least = self.exact[order(&self.exact)[places - 1]];
        let kept = order(&self.other).into_iter().take(places).filter(|&document| self.exact[document] >= least);
        kept.count() as f64 / places as f64
    }
}

/// The documents from the highest margin down, equal ones as they came.
fn order(margins: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..margins.len()).collect();
    order.sort_by(|&a, &b| margins[b].total_cmp(&margins[a]));
    order
}

fn mean(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (count, sum) = numbers.into_iter().fold((0_u32, 0.0), |(count, sum), number| (count + 1, sum + number));
    (count > 0).then(|| sum / f64::from(count))
}

fn rms(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    mean(numbers.map(|number| number * number)).map(f64::sqrt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn margins(exact: &[f32], other: &[f32]) -> Margins {
        Margins { exact: exact.to_vec(), other: other.to_vec() }
    }

    fn logistic(margin: f32) -> f32 {
        1.0 / (1.0 + (-margin).exp())
    }

    #[track_caller]
    fn assert_close(got: Option<f64>, expected: f64) {
        let got = got.expect("a figure");
        assert!((got - expected).abs() < 1e-12, "{got}, not {expected}");
    }

    #[test]
    fn the_same_margins_agree_in_everything() {
        let query = margins(&[3.0, -1.5, 0.25, 0.25], &[3.0, -1.5, 0.25, 0.25]);
        let all = Agreement::of(&[query.clone(), query], logistic);
        assert_eq!((all.score_difference_max, all.score_difference_mean, all.margin_error_rms), (0.0, 0.0, 0.0));
        assert_eq!(all.margin_error_share, Some(0.0));
        assert_eq!((all.kendall_tau, all.ndcg_at_10, all.top_1, all.top_10), (Some(1.0), Some(1.0), Some(1.0), None));
    }

    #[test]
    fn differences_are_of_scores_and_errors_of_margins() {
        // Scores are the margins here: off by 0.5, 0, 1 and 0.5.
        let queries = [margins(&[2.0, 0.0, 1.0], &[2.5, 0.0, 0.0]), margins(&[7.0], &[7.5])];
        let of = Agreement::of(&queries, |margin| margin);
        assert_eq!((of.score_difference_max, of.score_difference_mean), (1.0, 0.5));
        assert_close(Some(of.margin_error_rms), (1.5_f64 / 4.0).sqrt());
        // The second query has one document, and no part in it: errors 0.25 + 1 over deviations 1 + 1.
        assert_close(of.margin_error_share, (1.25_f64 / 2.0).sqrt());
        let halved = Agreement::of(&queries, |margin| margin / 2.0);
        assert_eq!((halved.score_difference_max, halved.margin_error_rms), (0.5, of.margin_error_rms));
    }

    #[test]
    fn tau_counts_pairs_and_ties_of_either_side() {
        // Of six pairs one is turned around.
        assert_close(margins(&[4.0, 3.0, 2.0, 1.0], &[4.0, 2.0, 3.0, 1.0]).tau(), 4.0 / 6.0);
        assert_close(margins(&[4.0, 3.0, 2.0, 1.0], &[1.0, 2.0, 3.0, 4.0]).tau(), -1.0);
        // One pair tied by the other run: five agree, of 6 and 5 that are in an order.
        assert_close(margins(&[4.0, 3.0, 2.0, 1.0], &[4.0, 3.0, 3.0, 1.0]).tau(), 5.0 / 30.0_f64.sqrt());
        // Ties of both sides: two agree, of 4 and 3 that are in an order.
        assert_close(margins(&[2.0, 2.0, 1.0, 1.0], &[3.0, 3.0, 3.0, 1.0]).tau(), 2.0 / 12.0_f64.sqrt());
        assert_close(margins(&[0.0, -0.0, 1.0], &[-0.0, 0.0, 1.0]).tau(), 1.0);
        assert_eq!(margins(&[2.0, 1.0], &[5.0, 5.0]).tau(), Some(0.0));
        assert_eq!(margins(&[5.0, 5.0], &[2.0, 1.0]).tau(), None);
    }

    #[test]
    fn gains_are_the_logistic_function_of_exact_margins() {
        let query = margins(&[0.0, f32::MIN], &[1.0, 2.0]);
        // The document with all the gain, a half, stands second.
        assert_close(Some(query.ndcg(10)), 1.0 / 3.0_f64.log2());
        assert_close(Some(query.ndcg(1)), 0.0);
        let turned = margins(&[f32::MAX, 0.0, f32::MIN], &[1.0, 2.0, 0.0]);
        let second = 1.0 / 3.0_f64.log2();
        assert_close(Some(turned.ndcg(10)), (0.5 + second) / (1.0 + 0.5 * second));
        assert_close(Some(margins(&[f32::MIN, f32::MIN], &[1.0, 2.0]).ndcg(10)), 1.0);
    }

    #[test]
    fn the_head_is_kept_where_what_stands_there_is_as_good() {
        assert_close(Some(margins(&[1.0, 3.0, 2.0], &[1.0, 2.0, 3.0]).kept(1)), 0.0);
        assert_close(Some(margins(&[1.0, 3.0, 2.0], &[1.0, 2.0, 3.0]).kept(2)), 1.0);
        assert_close(Some(margins(&[3.0, 3.0, 2.0], &[1.0, 2.0, 0.0]).kept(1)), 1.0);
        let exact: Vec<f32> = (0..12).map(|i| -(i as f32)).collect();
        // The tenth and the eleventh change places.
        let other: Vec<f32> = exact.iter().map(|&margin| if margin == -10.0 { -8.5 } else { margin }).collect();
        let of = Agreement::of(&[margins(&exact, &other), margins(&[1.0, 0.0], &[0.0, 1.0])], logistic);
        assert_close(of.top_10, 0.9);
        assert_close(of.top_1, 0.5);
    }

    #[test]
    fn one_document_has_no_order_and_nothing_is_ever_not_a_number() {
        let one = Agreement::of(&[margins(&[1.0], &[1.5])], |margin| margin);
        assert_eq!((one.score_difference_mean, one.margin_error_rms), (0.5, 0.5));
        let nothing = [one.margin_error_share, one.kendall_tau, one.ndcg_at_10, one.top_1, one.top_10];
        assert_eq!(nothing, [None; 5]);
        let none = Agreement::of(&[], logistic);
        assert_eq!((none.score_difference_max, none.score_difference_mean, none.margin_error_rms), (0.0, 0.0, 0.0));
        for query in [
            margins(&[1.0, 1.0], &[1.0, 2.0]),
            margins(&[f32::MAX, f32::MIN], &[f32::MIN, f32::MAX]),
            margins(&[f32::MIN, f32::MIN, f32::MIN], &[f32::MAX, f32::MAX, f32::MAX]),
            margins(&[f32::MIN_POSITIVE, 0.0], &[0.0, 0.0]),
            margins(&[], &[]),
        ] {
            let of = Agreement::of(std::slice::from_ref(&query), logistic);
            let told = [of.margin_error_share, of.kendall_tau, of.ndcg_at_10, of.top_1, of.top_10];
            let always = [of.score_difference_max, of.score_difference_mean, of.margin_error_rms];
            assert!(always.into_iter().chain(told.into_iter().flatten()).all(f64::is_finite), "{query:?}: {of:?}");
        }
    }
}
