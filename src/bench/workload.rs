//! The requests of a benchmark: made-up English of a given number of words, the same at every run.

use crate::options::Workload;
use crate::task::Task;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Words of a query.
const QUERY_WORDS: usize = 12;

/// Frequent words and rarer, longer ones; with the numbers between them about 1.3 tokens a word.
const WORDS: &str = "a about after again all almost along also always among an and another any are around as at back be \
    because been before began being below between both but by came can change city come could country course day did \
    different do does down during each earth even every example far few find first follow food for form found from \
    gave get give go good great had half hand has have he head heard help her here high his home house how however if \
    important in into is it its just keep kind know land large last late learn leave left letter life light like line \
    list little live long made make many may mean men might more most mountain move much must name near need never \
    next night no not number of off often old on once one only or order other our out over own page paper part people \
    place plant point power read really record right river same saw school sea second see sentence set several she \
    should show side since small so some sound spell still story study such system take than that the their them then \
    there these they thing think this those though three through time to together too took tree turn two under until \
    up upon us use very voice want was watch water way we well went were what when where which while white who why \
    will wind with without word work world would year you young your bandwidth calibration catalogue cathedral \
    circumference combustion committee commodity comparison condensation constellation consumption convergence \
    correspondence crystallography demography derivative diplomacy electrolysis embankment equilibrium estuary \
    fermentation ferromagnetic geometry glaciation governance hemisphere hydraulic inflammation insulation \
    interpolation irrigation jurisdiction latitude legislation lithography longitude magnetism manuscript metallurgy \
    microprocessor migration navigation observatory oscillation parliament permeability pharmaceutical philosophy \
    photosynthesis precipitation propagation quarantine receptor refrigeration resonance sedimentation semiconductor \
    spectroscopy sterilisation taxonomy telegraph temperature thermodynamics topography transmission turbulence \
    vaccination ventilation viscosity watershed";

/// A query and its documents, or texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The query, which nobody asks for where there are texts.
    pub query: String,
    /// The documents, or the texts.
    pub documents: Vec<String>,
}

impl Workload {
    /// How it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Short => "short",
            Self::Rag => "rag",
            Self::Chunk => "chunk",
            Self::Long => "long",
            Self::Max => "max",
            Self::Texts => "texts",
        }
    }

    /// What the model has to be for.
    pub fn task(self) -> Task {
        match self {
            Self::Pair | Self::Short | Self::Rag | Self::Chunk | Self::Long | Self::Max => Task::Rerank,
            Self::Texts => Task::Embed,
        }
    }

    /// The usual one for a task.
    pub fn usual(task: Task) -> Self {
        match task {
            Task::Rerank => Self::Rag,
            Task::Embed => Self::Texts,
        }
    }

    /// Documents of a request, or texts.
    pub fn documents(self) -> usize {
        match self {
            Self::Pair | Self::Max => 1,
            Self::Short | Self::Rag => 32,
            Self::Chunk | Self::Texts => 64,
            Self::Long => 4,
        }
    }

    /// Words of a document; where a request has several, they have between 0.6 and 1.4 times as many. Tokens of a text, of
    /// which each has so many.
    pub fn words(self) -> usize {
        match self {
            Self::Pair => 60,
            Self::Short => 40,
            Self::Rag => 200,
            Self::Chunk => 350,
            Self::Long => 1500,
            Self::Max => 5600,
            Self::Texts => 512,
        }
    }

    /// Requests that are timed when nobody says how many: some ten thousand tokens or more.
    pub fn requests(self) -> usize {
        match self {
            Self::Pair => 40,
            Self::Short => 6,
            Self::Rag | Self::Max => 2,
            Self::Chunk | Self::Long | Self::Texts => 1,
        }
    }
}

/// A source of requests; two of one seed give the same.
pub struct Requests {
    random: StdRng,
    words: Vec<&'static str>,
}

impl Requests {
    /// A source of its own for every `seed`.
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), words: WORDS.split_whitespace().collect() }
    }

    /// The next request of a workload; each has a query of its own.
    pub fn next_of(&mut self, workload: Workload) -> Request {
        let (count, words) = (workload.documents(), workload.words());
        let query = self.text(QUERY_WORDS);
        let length = |random: &mut StdRng| match (count, workload.task()) {
            // A word has at least one token.
            (1, _) | (_, Task::Embed) => words,
            _ => (words as f64 * random.random_range(0.6..1.4)).round() as usize,
        };
        let documents = (0..count)
            .map(|_| {
                let words = length(&mut self.random);
                self.text(words)
            })
            .collect();
        Request { query, documents }
    }

    /// `words` words, some of them numbers, in sentences of 13.
    pub fn text(&mut self, words: usize) -> String {
        let word = |i: usize| {
            let end = if i % 13 == 12 { "." } else { "" };
            match self.random.random_bool(0.04) {
                true => format!("{}{end}", self.random.random_range(1..2025)),
                false => format!("{}{end}", self.words.choose(&mut self.random).copied().unwrap_or_default()),
            }
        };
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn requests_have_the_documents_and_words_of_their_workload() {
        for &workload in Workload::value_variants() {
            let request = Requests::new(1).next_of(workload);
            assert_eq!(request.documents.len(), workload.documents(), "{}", workload.name());
            assert_eq!(request.query.split(' ').count(), QUERY_WORDS);
            let mean = request.documents.iter().map(|text| text.split(' ').count()).sum::<usize>() as f64
                / workload.documents() as f64;
            assert!((0.8..1.2).contains(&(mean / workload.words() as f64)), "{}: {mean} words", workload.name());
        }
    }

    #[test]
    fn a_seed_gives_the_same_requests_and_no_query_twice() {
        let (mut one, mut other) = (Requests::new(1), Requests::new(1));
        let first = one.next_of(Workload::Short);
        assert_eq!(first, other.next_of(Workload::Short));
        assert_ne!(first.query, one.next_of(Workload::Short).query);
        assert_ne!(first, Requests::new(2).next_of(Workload::Short));
    }
}
