// docs/errors.md has every error code once, and each comes with the sentence that it has there.
#include "support/doctest.hpp"

#include <sys/mman.h>
#include <sys/resource.h>

#include <map>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "core/plan/machine_detail.hpp"
#include "support/forked_jobs.hpp"
#include "support/in_child.hpp"
#include "support/source_text.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr int code_count = static_cast<int>(ErrorCode::internal) + 1;

std::string page() { return read_text(TANDEM_SOURCE_DIR "/docs/errors.md"); }

/// The rows of the table of codes: name and sentence.
std::multimap<std::string, std::string> documented() {
    static const std::regex row(R"(\n\| `([a-z_]+)` \|[^|\n]+\| `([^`|\n]+)` \|[^|\n]+\|)");
    const std::string text = page();
    std::multimap<std::string, std::string> rows;
    for (std::sregex_iterator at(text.begin(), text.end(), row), end; at != end; ++at)
        rows.emplace((*at)[1], (*at)[2]);
    return rows;
}

/// `...` of a documented sentence stands for any text.
bool matches(std::string_view sentence, std::string_view documented) {
    const std::size_t gap = documented.find("...");
    if (gap == std::string_view::npos) return sentence == documented;
    const std::string_view head = documented.substr(0, gap), tail = documented.substr(gap + 3);
    return sentence.size() >= head.size() + tail.size() && sentence.starts_with(head) &&
           sentence.ends_with(tail);
}

template <class T>
void check_documented(const Result<T>& result, ErrorCode code) {
    REQUIRE_FALSE(result.ok());
    CAPTURE(to_string(result.error().code));
    CAPTURE(result.error().message);
    const auto rows = documented();
    const auto row = rows.find(to_string(code));
    REQUIRE(row != rows.end());
    CAPTURE(row->second);
    CHECK(result.error().code == code);
    CHECK(matches(result.error().message, row->second));
}

}  // namespace

TEST_CASE("error codes: the page has each of them exactly once, and no other") {
    const auto rows = documented();
    for (int code = 0; code < code_count; ++code) {
        const char* const name = to_string(static_cast<ErrorCode>(code));
        CAPTURE(name);
        CHECK(rows.count(name) == 1);
    }
    CHECK(rows.size() == code_count);
}

TEST_CASE("error codes: each comes with the sentence that the page has") {
    using enum ErrorCode;
    Context context;
    ConvChain chain = *ConvChain::parse("1x8x6x5:dw3:conv1o9");
    ConvChain empty = chain;
    empty.input.c = 0;
    check_documented(context.dispatch(empty), invalid_argument);
    check_documented(ConvChain::parse("1x8x6x5:cnv1o8"), parse_error);
    ConvChain huge = chain;
    huge.input = {.n = 1, .c = 2000000000, .h = 2000, .w = 2000};
    check_documented(context.dispatch(huge), overflow);
    {
        const PretendedHost laptop(Isa::avx2);
        check_documented(context.dispatch(chain, {.isa = Isa::avx512}), unsupported);
    }
    check_documented(MachineProfile::load("/no/such/machine.json"), ErrorCode::system);
    const Result<int> number = 7;
    CHECK(number.error().code == internal);
    CHECK(matches(number.error().message, documented().find("internal")->second));
}

TEST_CASE("error codes: a buffer that is too small") {
    const Kernel kernel = *Context().dispatch(*ConvChain::parse("1x8x6x5:dw3:conv1o9"));
    const std::vector<float> x(8 * 30), w(100);
    std::vector<float> y(9 * 30);
    const StageWeights stages[] = {{std::span(w).first(72), {}, {}, {}},
                                   {std::span(w).first(72), {}, {}, {}}};
    const PackedWeights weights = *kernel.pack(stages);
    check_documented(
        kernel({.input = x.data(), .output = y.data(), .weights = &weights, .output_bytes = 1079}),
        ErrorCode::buffer_too_small);
}

TEST_CASE("error codes: weights that there is no memory to pack") {
    if (sanitized) return;  // which needs all addresses for itself
    const std::string expected = documented().find("out_of_memory")->second;  // while there is memory
    const auto code = in_child([&] {
        constexpr std::size_t channels = 8192, count = channels * channels, bytes = count * sizeof(float);
        const auto kernel = Context().dispatch(*ConvChain::parse("1x8192x1x1:conv1o8192"));
        const void* const zeros =
            mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (!kernel || zeros == MAP_FAILED) return 2;
        const StageWeights stage{{static_cast<const float*>(zeros), count}, {}, {}, {}};
        const rlimit little{bytes + bytes / 2, bytes + bytes / 2};
        if (setrlimit(RLIMIT_AS, &little) != 0) return 3;
        const auto weights = kernel->pack({&stage, 1});
        const Error& error = weights.error();
        return error.code == ErrorCode::out_of_memory && matches(error.message, expected) ? 0 : 1;
    });
    CHECK(code == 0);
}

TEST_CASE("error codes: the page has all functions that may throw") {
    static const std::regex declaration(R"(ay throw\s+(?:///\s+)?std::bad_alloc\.\s*\n[^;]*?([a-z_]+)\()");
    const std::string text = page();
    int found = 0;
    for (const auto& file : source_files({"include"}, {".hpp"})) {
        const std::string header = read_text(file);
        for (std::sregex_iterator at(header.begin(), header.end(), declaration), end; at != end;
             ++at, ++found) {
            CAPTURE(at->str());
            CHECK(text.find((*at)[1].str() + "()`") != std::string::npos);
        }
    }
    CHECK(found == 5);
}
