"""The JDK's own HTTP client, which asks for HTTP/2 with every request: 300 sequential POSTs, in the clear and over TLS, and not one of
them lost. Needs a JDK (11 or later).
"""

from harness import ROOT, Server, certificate, need, output, succeeds, tiny_model, work


def run(binary):
    need("apt-get install default-jdk-headless openssl", "javac", "java", "openssl")
    output("javac", "-d", work(), ROOT / "tests/clients/java/Posts.java")
    for name, flags in ("http", []), ("https", certificate("IP:127.0.0.1")[0]):
        with Server(binary, tiny_model(), "--max-model-len", "512", *flags) as server:
            posts = ["java", "-cp", work(), "Posts", server.url, "300"]
            succeeds(f"300 of 300 POSTs by the JDK's client are answered over {name}", output, *posts)
