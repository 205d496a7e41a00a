#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>

int main(int argc, char** argv) {
    setenv("TANDEM_WISDOM", "", 1);  // this user's tuned plans are not what is tested
    // Plans are those of one machine wherever the tests run.
    setenv("TANDEM_MACHINE", TANDEM_SOURCE_DIR "/docs/machines/emerald-rapids.json", 1);
    return doctest::Context(argc, argv).run();
}
