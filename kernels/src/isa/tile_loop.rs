//! The loop of a full register tile in assembly, for ISAs where the compiler's order of instructions costs.

/// Defines a function that is [`Simd::turns`](super::Simd::turns) for one size of tile.
///
/// `$step` are the instructions of step `\p`, one string or several: `{a}` and `{b}` point to the turn's operands,
/// `{a_step}` and `{b_step}` are the bytes of a step, and the sums and temporaries are registers by their names.
///
/// A turn asks for one line ahead, also where [`Cursor::lines`] says several, as for tasks of few rows: AVX2 is no
/// slower for it at 8 rows.
///
/// [`Cursor::lines`]: crate::matmul::tile::Cursor::lines
macro_rules! tile_loop {
    (
        $(#[$attribute:meta])*
        fn $name:ident: $rows:literal x $columns:literal of $v:ident in $class:ident,
        sums [$([$($sum:ident),+]),+], temporaries [$($temporary:ident),+]
        { $($step:expr),+ $(,)? }
    ) => {
        $(#[$attribute])*
        #[inline]
        unsafe fn $name(at: &mut Cursor, turns: usize, acc: &mut [[$v; $columns]; $rows]) {
            use crate::matmul::tile::{LINE, NR, TURN};
            const { assert!(TURN == 4, "the loop has steps 0 to 3") };
            if turns == 0 {
                return;
            }
            // Where there is nothing to fetch, the line that is being read anyway is asked for again and again.
            let (mut ahead, line) = match at.lines {
                0 => (at.b, 0),
                _ => (at.ahead, LINE * size_of::<f32>()),
            };
            let [$([$($sum),+]),+] = acc;
            // SAFETY: it reads what the caller promises and writes nothing but registers; a prefetch may name any address.
            unsafe {
                std::arch::asm!(
                    "2:",
                    "prefetcht1 [{ahead}]",
                    ".irp p, 0, 1, 2, 3",
                    $($step,)+
                    ".endr",
                    "add {a}, {turn}*{a_step}",
                    "add {b}, {turn}*{b_step}",
                    "add {ahead}, {line}",
                    "dec {turns}",
                    "jnz 2b",
                    a = inout(reg) at.a,
                    b = inout(reg) at.b,
                    ahead = inout(reg) ahead,
                    line = in(reg) line,
                    turns = inout(reg) turns => _,
                    turn = const TURN,
                    a_step = const $rows * size_of::<f32>(),
                    b_step = const NR * size_of::<f32>(),
                    $($temporary = out($class) _,)+
                    $($($sum = inout($class) *$sum,)+)+
                    options(nostack, readonly),
                );
            }
            at.ahead = ahead;
        }
    };
}
