#include <tandem/tandem.hpp>

int main() { return tandem::Context::shared().cache_stats().entries == 0 ? 0 : 1; }
