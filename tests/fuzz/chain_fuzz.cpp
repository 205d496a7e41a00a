// libFuzzer target: bytes are a chain's text. What parses is written and read back the same; what is valid,
// and small, is compiled and computes what the reference does.
#include "core/plan/machine.hpp"
#include "fuzz/target.hpp"

using namespace tandem;
using tandem::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const Result<ConvChain> chain = ConvChain::parse(text);
    if (!chain) {
        require(!chain.error().message.empty(), "An error without a sentence.");
        return 0;
    }
    const std::string written = to_string(*chain);
    const Result<ConvChain> again = ConvChain::parse(written);
    require(again.ok(), written + ": " + again.error().message);
    require(to_string(*again) == written, written + " is written as " + to_string(*again) + " once read.");
    const Status valid = validate(*chain);
    require(valid.ok() == validate(*again).ok(), written + " is valid only as one of two texts.");
    if (!valid) return 0;
    const std::vector<Isa> isas = host_isas(chain->dtype, chain->math);
    if (isas.empty()) return 0;
    fuzz::check_against_reference(*chain, {.isa = isas[size % isas.size()]});
    return 0;
}
