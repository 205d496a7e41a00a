// The AMX emulator: configuration, loads and stores, faults, and what it does with other signals; where the
// machine has AMX, the same code and expectations check the hardware.
#include "amx_emulator.hpp"

#include "support/doctest.hpp"
#include <ucontext.h>

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <random>
#include <string>
#include <vector>

#include "amx_code.hpp"
#include "core/run/guarded_buffer.hpp"
#include "support/forked_jobs.hpp"

using namespace tandem;
using namespace tandem::jit;
using namespace tandem::test;
using Xbyak::Tmm;

namespace {

/// While alive, SIGILL and SIGSEGV end the call that catches() makes.
class SignalCatcher {
public:
    SignalCatcher() {
        struct sigaction action = {};
        action.sa_sigaction = [](int signal, siginfo_t*, void*) {
            siglongjmp(target, signal);
        };
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        sigaction(SIGILL, &action, &previous_[0]);
        sigaction(SIGSEGV, &action, &previous_[1]);
    }
    ~SignalCatcher() {
        sigaction(SIGILL, &previous_[0], nullptr);
        sigaction(SIGSEGV, &previous_[1], nullptr);
    }
    /// The signal that ended the call, 0 if none. Destructors inside the call are then skipped: let it own
    /// nothing. The emulator leaves no signal blocked, so that there is no mask to restore; the thread
    /// sanitizer's handler does.
    template <class Callable>
    static int catches(const Callable& call) {
        const int signal = sigsetjmp(target, sanitized);
        if (signal == 0) call();
        return signal;
    }

private:
    static inline sigjmp_buf target;
    struct sigaction previous_[2] = {};
};

/// SIGILL of a two-byte ud2 is counted and skipped.
std::atomic<int> skipped{0};
void skip_ud2(int, siginfo_t*, void* context) {
    ++skipped;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
}

struct Ud2Skipper {
    struct sigaction previous = {};
    Ud2Skipper() {
        struct sigaction action = {};
        action.sa_sigaction = skip_ud2;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGILL, &action, &previous);
    }
    ~Ud2Skipper() { sigaction(SIGILL, &previous, nullptr); }
};

struct AddressForm {
    const char* name;
    int base, index, scale, displacement, stride;  // stride in bytes, scale included
};

/// (config, anywhere, tight): the tile from memory in this form to tight rows, or the other way round.
EmittedFunction move_tile(const AddressForm& form, int colsb, bool load) {
    return with_config([&](CodeBlock& code) {
        const int saved[] = {Xbyak::Operand::RBX, Xbyak::Operand::RBP, 12, 13, 14, 15};
        for (const int reg : saved)
            code.push(Gpr(reg));
        code.mov(rcx, rsi);
        code.mov(Gpr(form.base), rcx);
        code.mov(Gpr(form.index), form.stride / form.scale);
        const Address anywhere = code.ptr[Gpr(form.base) + Gpr(form.index) * form.scale + form.displacement];
        if (load) code.tileloadd(Tmm(6), anywhere);
        code.mov(rax, colsb);
        if (load) code.tilestored(code.ptr[rdx + rax], Tmm(6));
        if (!load) code.tileloaddt1(Tmm(6), code.ptr[rdx + rax]);
        code.mov(Gpr(form.base), rcx);
        code.mov(Gpr(form.index), form.stride / form.scale);
        if (!load) code.tilestored(anywhere, Tmm(6));
        for (int i = 5; i >= 0; --i)
            code.pop(Gpr(saved[i]));
    });
}

}  // namespace

TEST_CASE("AMX: a configuration is stored as it was loaded, and as zeros once released") {
    const AmxEmulator emulator;
    const AmxConfig config = AmxConfig().tile(0, 16, 64).tile(3, 1, 4).tile(7, 5, 20);
    const EmittedFunction function = with_config([](CodeBlock& code) {
        code.sttilecfg(code.ptr[rsi]);
        code.tilerelease();
        code.sttilecfg(code.ptr[rdx + 64]);
    });
    AmxConfig stored[2], released[2];
    function(&config, stored, released);
    CHECK(stored[0] == config);
    CHECK(stored[1] == AmxConfig());
    AmxConfig zeros;
    zeros.palette = 0;
    CHECK(released[0] == AmxConfig());
    CHECK(released[1] == zeros);
}

TEST_CASE("AMX: palette 0 releases the tiles; a configuration can lie behind the code") {
    const AmxEmulator emulator;
    const AmxConfig config = AmxConfig().tile(2, 3, 8);
    const EmittedFunction function([&](CodeBlock& code) {
        Label constant;
        code.ldtilecfg(code.ptr[code.rip + constant]);
        code.sttilecfg(code.ptr[rdi]);
        code.ldtilecfg(code.ptr[rsi]);
        code.sttilecfg(code.ptr[rdx]);
        code.ret();
        code.align(64);
        code.L(constant);
        for (std::size_t i = 0; i < sizeof config; ++i)
            code.db(reinterpret_cast<const std::uint8_t*>(&config)[i]);
    });
    AmxConfig stored, none, after;
    none.palette = 0;
    function(&stored, &none, &after);
    CHECK(stored == config);
    CHECK(after == none);
    CHECK_FALSE(AmxEmulator::tiles_configured());
}

TEST_CASE("AMX: loads and stores touch the rows and columns of their tile, for every form of address") {
    const AmxEmulator emulator;
    std::mt19937 engine(1);
    std::vector<std::uint8_t> from(12288);
    for (auto& byte : from)
        byte = static_cast<std::uint8_t>(engine());
    const AddressForm forms[] = {
        {"base + index", Xbyak::Operand::RSI, Xbyak::Operand::RAX, 1, 0, 100},
        {"scale 2, short displacement", Xbyak::Operand::RBX, 9, 2, 5, 68},
        {"scale 4, long displacement", 8, 10, 4, 1000, 400},
        {"scale 8, negative displacement", 11, 14, 8, -64, 64},
        {"negative stride", Xbyak::Operand::RSI, Xbyak::Operand::RAX, 1, 3000, -72},
        {"negative stride, scaled", 14, 15, 4, 0, -80},
        {"base r13, which needs a displacement", 13, Xbyak::Operand::RBP, 2, 0, 68},
        {"base rbp, index r12", Xbyak::Operand::RBP, 12, 1, 0, 333},
        {"base r12, index r13", 12, 13, 1, 16, 80},
    };
    constexpr std::int64_t origin = 4096;
    for (const AddressForm& form : forms)
        for (const auto& size : {std::pair(16, 64), std::pair(5, 20), std::pair(1, 4), std::pair(16, 12)}) {
            const int rows = size.first, colsb = size.second;
            CAPTURE(form.name);
            CAPTURE(rows);
            CAPTURE(colsb);
            const AmxConfig config = AmxConfig().tile(6, rows, colsb);
            std::vector<std::uint8_t> to(from.size(), 0xee), expected = to;
            std::vector<std::uint8_t> tight(static_cast<std::size_t>(rows * colsb)), tight_expected;
            for (int r = 0; r < rows; ++r)
                for (int c = 0; c < colsb; ++c) {
                    const auto at =
                        static_cast<std::size_t>(origin + form.displacement + r * form.stride + c);
                    tight_expected.push_back(from[at]);
                    expected[at] = from[at];
                }
            move_tile(form, colsb, true)(&config, from.data() + origin, tight.data());
            CHECK(tight == tight_expected);
            move_tile(form, colsb, false)(&config, to.data() + origin, tight.data());
            CHECK(to == expected);
        }
}

TEST_CASE("AMX: without an index register the stride is 0") {
    const AmxEmulator emulator;
    const AmxConfig config = AmxConfig().tile(0, 3, 8);
    const EmittedFunction function = with_config([](CodeBlock& code) {
        for (const int byte : {0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x26})
            code.db(byte);  // tileloadd tmm0, [rsi]
        code.mov(rax, 8);
        code.tilestored(code.ptr[rdx + rax], Tmm(0));
    });
    const std::uint64_t from[2] = {0x0123456789abcdef, 7};
    std::vector<std::uint64_t> to(3);
    function(&config, from, to.data());
    CHECK(to == std::vector<std::uint64_t>(3, from[0]));
}

TEST_CASE("AMX: with an address-size prefix only the low halves of registers count") {
    const AmxEmulator emulator;
    void* low = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    REQUIRE(low != MAP_FAILED);
    auto* words = static_cast<std::uint32_t*>(low);
    for (std::uint32_t i = 0; i < 1024; ++i)
        words[i] = i;
    const AmxConfig config = AmxConfig().tile(0, 4, 4);
    const EmittedFunction function = with_config([](CodeBlock& code) {
        code.mov(rax, std::uint64_t{0x55'0000'0000});
        code.or_(rsi, rax);
        code.mov(rax, std::uint64_t{0xff'ffff'fff8});
        code.tileloadd(Tmm(0),
                       code.ptr[Xbyak::Reg32(Xbyak::Operand::ESI) + Xbyak::Reg32(Xbyak::Operand::EAX) + 40]);
        code.mov(rax, 4);
        code.tilestored(code.ptr[rdx + rax], Tmm(0));
    });
    std::vector<std::uint32_t> to(4);
    function(&config, low, to.data());
    CHECK(to == std::vector<std::uint32_t>{10, 8, 6, 4});
    munmap(low, 4096);
}

TEST_CASE("AMX: nothing is read or written beyond the last row's columns") {
    const AmxEmulator emulator;
    for (const auto& [rows, colsb] : {std::pair(16, 64), std::pair(7, 36)}) {
        const auto bytes = static_cast<std::size_t>(64 * (rows - 1) + colsb);
        const GuardedBuffer from = std::move(GuardedBuffer::create(bytes, Placement::flush_end)).value();
        const GuardedBuffer to = std::move(GuardedBuffer::create(bytes, Placement::flush_end)).value();
        std::fill(from.bytes().begin(), from.bytes().end(), std::byte{5});
        const AmxConfig config = AmxConfig().tile(1, rows, colsb);
        const EmittedFunction function = with_config([](CodeBlock& code) {
            code.mov(rax, 64);
            code.tileloadd(Tmm(1), code.ptr[rsi + rax]);
            code.tilestored(code.ptr[rdx + rax], Tmm(1));
        });
        function(&config, from.bytes().data(), to.bytes().data());
        CHECK(to.bytes().back() == std::byte{5});
    }
}

TEST_CASE("AMX: tilezero clears one tile, ldtilecfg and tilerelease all") {
    const AmxEmulator emulator;
    const AmxConfig config = AmxConfig().tile(2, 2, 4).tile(4, 2, 4);
    const EmittedFunction function = with_config([](CodeBlock& code) {
        code.mov(rax, 4);
        const auto load = [&] {
            for (const int tile : {2, 4})
                code.tileloadd(Tmm(tile), code.ptr[rsi + rax]);
        };
        const auto store = [&] {
            for (const int tile : {2, 4}) {
                code.tilestored(code.ptr[rdx + rax], Tmm(tile));
                code.add(rdx, 8);
            }
        };
        load();
        code.tilezero(Tmm(4));
        store();
        load();
        code.ldtilecfg(code.ptr[rdi]);
        store();
        load();
        code.tilerelease();
        code.ldtilecfg(code.ptr[rdi]);
        store();
    });
    const std::uint32_t from[2] = {1, 2};
    std::vector<std::uint32_t> to(12, 9);
    function(&config, from, to.data());
    CHECK(to == std::vector<std::uint32_t>{1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("AMX: a load starts at the configured start row and resets it") {
    const AmxEmulator emulator;
    AmxConfig config = AmxConfig().tile(0, 3, 4), after;
    config.start_row = 2;
    const EmittedFunction function = with_config([](CodeBlock& code) {
        code.mov(rax, 4);
        code.tileloadd(Tmm(0), code.ptr[rsi + rax]);
        code.tilestored(code.ptr[rdx + rax], Tmm(0));
        code.sttilecfg(code.ptr[rcx]);
    });
    const std::uint32_t from[3] = {1, 2, 3};
    std::vector<std::uint32_t> to(3, 9);
    function(&config, from, to.data(), &after);
    CHECK(to == std::vector<std::uint32_t>{0, 0, 3});
    CHECK(after.start_row == 0);
}

TEST_CASE("AMX: vector registers, flags and other state survive") {
    const AmxEmulator emulator;
    const AmxConfig config = AmxConfig().tile(0, 16, 64);
    const EmittedFunction function([](CodeBlock& code) {
        code.movups(Xbyak::Xmm(7), code.ptr[rsi]);
        code.stc();
        code.ldtilecfg(code.ptr[rdi]);
        code.tilezero(Tmm(0));
        code.tilerelease();
        code.sbb(rax, rax);
        code.movups(code.ptr[rsi + 16], Xbyak::Xmm(7));
        code.mov(code.ptr[rsi + 32], rax);
    });
    std::uint64_t data[5] = {11, 22};
    function(&config, data);
    CHECK(data[2] == 11);
    CHECK(data[3] == 22);
    CHECK(data[4] == ~std::uint64_t{0});
}

TEST_CASE("AMX: other illegal instructions reach the previous handler, which is back in the end") {
    const Ud2Skipper skipper;
    const EmittedFunction ud2([](CodeBlock& code) { code.ud2(); });
    const AmxConfig config = AmxConfig().tile(0, 1, 4);
    const EmittedFunction between = with_config([](CodeBlock& code) {
        code.ud2();
        code.tilezero(Tmm(0));
    });
    skipped = 0;
    {
        const AmxEmulator emulator;
        {
            const AmxEmulator second;
            ud2();
        }
        between(&config);
        CHECK(skipped == 2);
    }
    ud2();
    CHECK(skipped == 3);
    struct sigaction now = {};
    sigaction(SIGILL, nullptr, &now);
    CHECK((now.sa_sigaction == skip_ud2));
}

namespace {

/// What a function that `emit` makes does under `config`: "none", or the description of its fault.
std::string fault(const AmxConfig& config, const std::function<void(CodeBlock&)>& emit) {
    std::vector<std::byte> memory(2048);
    const EmittedFunction function = with_config([&](CodeBlock& code) {
        code.mov(rax, 64);
        emit(code);
    });
    const int signal = SignalCatcher::catches([&] { function(&config, memory.data()); });
    EmittedFunction([](CodeBlock& code) { code.tilerelease(); })();
    if (signal == 0) return "none";
    return AmxEmulator::needed() ? AmxEmulator::last_fault() : "hardware";
}

void check_fault(const std::string& text, const char* exception, const char* why) {
    CAPTURE(text);
    CHECK(text != "none");
    if (!AmxEmulator::needed()) return;
    CHECK(text.starts_with(exception));
    CHECK(text.find(why) != std::string::npos);
}

void nothing(CodeBlock&) {}
void product(CodeBlock& code) { code.tdpbf16ps(Tmm(0), Tmm(1), Tmm(2)); }
void load(CodeBlock& code) { code.tileloadd(Tmm(0), code.ptr[rsi + rax]); }
void store(CodeBlock& code) { code.tilestored(code.ptr[rsi + rax], Tmm(0)); }

}  // namespace

TEST_CASE("AMX: what faults on hardware goes to the previous handler, with a description") {
    const SignalCatcher catcher;
    const AmxEmulator emulator(AmxEmulator::Report::recorded);
    const AmxConfig good = AmxConfig().tile(0, 4, 12).tile(1, 4, 20).tile(2, 5, 12);
    CHECK(fault(good, product) == "none");
    CHECK(fault(good, load) == "none");

    SUBCASE("configurations") {
        AmxConfig bad = good;
        bad.palette = 2;
        check_fault(fault(bad, nothing), "#GP in LDTILECFG", "palette 2");
        check_fault(fault(AmxConfig().tile(3, 17, 4), nothing), "#GP",
                    "tmm3 is configured with 17 rows of 4 bytes");
        check_fault(fault(AmxConfig().tile(3, 1, 65), nothing), "#GP", "1 rows of 65 bytes");
        check_fault(fault(AmxConfig().tile(3, 1, 300), nothing), "#GP", "1 rows of 300 bytes");
        check_fault(fault(AmxConfig().tile(3, 0, 4), nothing), "#GP", "0 rows of 4 bytes");
        check_fault(fault(AmxConfig().tile(3, 4, 0), nothing), "#GP", "4 rows of 0 bytes");
        for (const std::size_t at : {2, 15, 32, 47, 56, 63}) {
            bad = good;
            reinterpret_cast<std::uint8_t*>(&bad)[at] = 1;
            check_fault(fault(bad, nothing), "#GP", ("reserved byte " + std::to_string(at)).c_str());
        }
    }
    SUBCASE("tiles that are not configured") {
        check_fault(fault(good, [](CodeBlock& code) { code.tilezero(Tmm(3)); }), "#UD in TILEZERO",
                    "tmm3 is not configured");
        check_fault(fault(AmxConfig().tile(1, 1, 4), load), "#UD in TILELOADD", "tmm0 is not configured");
        check_fault(fault(AmxConfig().tile(1, 1, 4), store), "#UD in TILESTORED", "tmm0 is not configured");
        check_fault(fault(AmxConfig().tile(0, 4, 12).tile(1, 4, 20), product), "#UD in TDPBF16PS",
                    "tmm2 is not configured");
        check_fault(fault(good,
                          [&](CodeBlock& code) {
                              code.tilerelease();
                              load(code);
                          }),
                    "#UD", "no tiles are configured");
    }
    SUBCASE("tiles that do not fit") {
        check_fault(fault(AmxConfig(good).tile(0, 3, 12), product), "#UD",
                    "tmm0 of 3 rows x 12 bytes is not tmm1 of 4 x 20 times tmm2 of 5 x 12");
        check_fault(fault(AmxConfig(good).tile(0, 4, 16), product), "#UD", "tmm0 of 4 rows x 16 bytes");
        check_fault(fault(AmxConfig(good).tile(2, 4, 12), product), "#UD", "tmm2 of 4 x 12");
        check_fault(fault(AmxConfig(good).tile(1, 4, 18), product), "#UD", "18 bytes, not a multiple of 4");
        check_fault(fault(AmxConfig(good).tile(0, 4, 7), load), "#UD", "7 bytes, not a multiple of 4");
        check_fault(fault(AmxConfig(good).tile(0, 4, 7), store), "#UD", "7 bytes, not a multiple of 4");
        check_fault(fault(good, [](CodeBlock& code) { code.tdpbssd(Tmm(0), Tmm(1), Tmm(1)); }),
                    "#UD in TDPBSSD", "three different tiles");
        AmxConfig late = good;
        late.start_row = 4;
        check_fault(fault(late, load), "#UD", "start row 4");
    }
}

TEST_CASE("AMX: an emulator starts with tiles released") {
    const SignalCatcher catcher;
    const AmxConfig config = AmxConfig().tile(0, 1, 4);
    {
        const AmxEmulator emulator;
        EmittedFunction([](CodeBlock& code) { code.ldtilecfg(code.ptr[rdi]); })(&config);
        if (!AmxEmulator::needed()) return EmittedFunction([](CodeBlock& code) { code.tilerelease(); })();
        CHECK(AmxEmulator::tiles_configured());
    }
    const AmxEmulator emulator(AmxEmulator::Report::recorded);
    CHECK_FALSE(AmxEmulator::tiles_configured());
    const EmittedFunction zero([](CodeBlock& code) { code.tilezero(Tmm(0)); });
    CHECK(SignalCatcher::catches([&] { zero(); }) == SIGILL);
}
