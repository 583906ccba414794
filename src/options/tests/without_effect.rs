//! Lines of vLLM's deployments whose flags mean nothing here: each is noted, and none takes its neighbour's value.

use super::check;

/// Lines, with the flags that are noted in the order of the notes.
const LINES: &[(&str, &[&str])] = &[
    (
        "serve --revision main --code_revision=main --tokenizer-rev main --download-dir /d m",
        &["--code-revision", "--download-dir", "--revision", "--tokenizer-revision"],
    ),
    (
        "serve --tokenizer-mode auto --generation-config vllm --chat-template-content-format auto m",
        &["--chat-template-content-format", "--generation-config", "--tokenizer-mode"],
    ),
    (
        "serve --enable-chunked-prefill --block-size 128 -asc 2 --kv-cache-memory-bytes 4G -pp 1 m",
        &["--enable-chunked", "--api-server-count", "--block-size", "--kv-cache-memory-bytes", "--pipeline-parallel"],
    ),
    (
        "serve --disable-uvicorn-access-log --disable-access-log-for-endpoints /health,/metrics --max-log-len 100 m",
        &["--disable-uvicorn-access-log", "--disable-access-log-for-endpoints", "--max-log-len"],
    ),
    (
        "serve --enable-server-load-tracking --trust-request-chat-template m",
        &["--enable-server-load-tracking", "--trust-request-chat-template"],
    ),
    (
        "serve --h11_max_header_count 256 --h11-max-incomplete-event-size 4194304 --distributed-executor-backend mp m",
        &["--distributed-executor-backend", "--h11-max-header-count", "--h11-max-incomplete-event-size"],
    ),
    (
        "serve --max-num-scheduled-tokens 10.5k --prefix-cache-retention-interval 60 --max_num_scheduled_tokens=4K m",
        &["--max-num-scheduled-tokens", "--prefix-cache-retention-interval"],
    ),
    ("serve --ssl-ciphers HIGH --enable-offline-docs m", &["--enable-offline-docs", "--ssl-ciphers"]),
];

#[test]
fn flags_without_effect_are_noted_and_change_nothing() {
    for (line, flags) in LINES {
        check(line, &[], flags, |_| {});
    }
}
