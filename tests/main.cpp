#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>

int main(int argc, char** argv) {
    setenv("TANDEM_WISDOM", "", 1);  // this user's tuned plans are not what is tested
    return doctest::Context(argc, argv).run();
}
