// Executable memory: thousands of kernels in few mappings, nothing of a living kernel changes, processes that
// refuse executable memory, forks.
#include "jit/executable_memory.hpp"

#include "support/doctest.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support/forked_jobs.hpp"
#include "support/guarded_call.hpp"
#include "support/in_child.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;
using jit::ExecutableMemory;

namespace {

using Memory = std::shared_ptr<const ExecutableMemory>;

/// A function that returns `number`, followed by a pattern up to `bytes`.
std::vector<std::byte> code_returning(std::uint32_t number, std::size_t bytes = 6) {
    std::vector<std::byte> code(std::max<std::size_t>(bytes, 6), static_cast<std::byte>(number | 1));
    const unsigned char instructions[] = {0xb8, 0, 0, 0, 0, 0xc3};  // mov eax, number; ret
    std::memcpy(code.data(), instructions, sizeof instructions);
    std::memcpy(code.data() + 1, &number, sizeof number);
    return code;
}

/// Null where there is an Error.
Memory make(std::uint32_t number, std::size_t bytes = 6) {
    Result<Memory> memory = ExecutableMemory::create(code_returning(number, bytes));
    return memory ? *memory : nullptr;
}

/// The function's result, if all the bytes behind it are there too.
std::int64_t call(const Memory& memory) {
    const auto bytes = memory->bytes();
    const std::uint32_t number =
        reinterpret_cast<std::uint32_t (*)()>(reinterpret_cast<std::uintptr_t>(bytes.data()))();
    const std::vector<std::byte> expected = code_returning(number, bytes.size());
    return std::memcmp(bytes.data(), expected.data(), bytes.size()) == 0 ? std::int64_t{number} : -1;
}

struct Mapping {
    std::uintptr_t begin = 0, end = 0;
    std::string permissions, identity;  // offset, device and inode, which of anonymous memory are zeros
};

std::vector<Mapping> mappings() {
    std::vector<Mapping> all;
    std::ifstream file("/proc/self/maps");
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        Mapping mapping;
        std::string offset, device, inode;
        char dash = 0;
        words >> std::hex >> mapping.begin >> dash >> mapping.end >> mapping.permissions >> offset >>
            device >> inode;
        mapping.identity = offset + ' ' + device + ' ' + inode;
        all.push_back(mapping);
    }
    return all;
}

Mapping mapping_at(const void* address) {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    for (const Mapping& mapping : mappings())
        if (mapping.begin <= at && at < mapping.end) return mapping;
    return {};
}

int mapping_count() { return static_cast<int>(mappings().size()); }

int writable_and_executable() {
    return static_cast<int>(std::ranges::count_if(mappings(), [](const Mapping& mapping) {
        return mapping.permissions.find('w') != std::string::npos &&
               mapping.permissions.find('x') != std::string::npos;
    }));
}

std::size_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::size_t size = 0, resident = 0;
    file >> size >> resident;
    return resident * 4096;
}

// Linux 6.3 and later; false where this kernel does not know it.
bool refuse_exec_gain() {
    constexpr int set_mdwe = 65, refuse = 1;
    return prctl(set_mdwe, refuse, 0, 0, 0) == 0;
}

/// From now on `call` gives `error` where its argument of this number has one of `bits`, or is `value`.
struct Refusal {
    long call;
    unsigned argument;
    std::uint32_t bits;  // 0: compare with `value`
    std::uint32_t value;
    int error;
};

bool refuse(const Refusal& refusal) {
    const auto argument =
        static_cast<std::uint32_t>(offsetof(seccomp_data, args) + refusal.argument * sizeof(std::uint64_t));
    const auto test = static_cast<std::uint16_t>(BPF_JMP | BPF_K | (refusal.bits != 0 ? BPF_JSET : BPF_JEQ));
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(refusal.call), 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
        {test, 0, 1, refusal.bits != 0 ? refusal.bits : refusal.value},
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(refusal.error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

constexpr Refusal no_exec_by_mprotect{SYS_mprotect, 2, PROT_EXEC, 0, EACCES};
constexpr Refusal no_exec_by_mmap{SYS_mmap, 2, PROT_EXEC, 0, EPERM};

/// What is wrong first, as a child's exit code: the line of the check that failed.
#define EXPECT(...) \
    if (!(__VA_ARGS__)) return __LINE__

/// In a child, as such refusals last; 0: all is well.
int result_in_child(const std::function<int()>& body) {
    const std::optional<int> code = in_child([&body] { return body() & 0xff; });
    return code.value_or(-1);
}

/// Kernels of all sizes come and go, in whatever order; how many did not do what they should.
int churn(int steps, std::uint64_t seed, std::vector<Memory>& alive) {
    std::mt19937_64 engine(seed);
    int wrong = 0;
    for (int step = 0; step < steps; ++step) {
        Memory& place = alive[engine() % alive.size()];
        if (place) wrong += call(place) < 0;
        place.reset();
        if (engine() % 8 == 0) continue;
        const auto number = static_cast<std::uint32_t>(step);
        place = make(number, 1 + engine() % 80'000);
        wrong += !place || call(place) != number;
    }
    return wrong;
}

}  // namespace

TEST_CASE("executable memory: 10,000 kernels alive are a few mappings, and each is its own") {
    const int before = mapping_count();
    std::vector<Memory> kernels;
    for (std::uint32_t i = 0; i < 10'000; ++i)
        kernels.push_back(make(i));
    CHECK(mapping_count() - before < 100);
    int wrong = 0;
    for (std::uint32_t i = 0; i < kernels.size(); ++i)
        wrong += !kernels[i] || call(kernels[i]) != i;
    CHECK(wrong == 0);
    kernels.clear();
    CHECK(mapping_count() - before < 20);  // what other tests left included
}

TEST_CASE(
    "executable memory: of 10,000 kernels every second one goes; its memory too, the mappings stay few") {
    std::vector<Memory> kernels;
    for (std::uint32_t i = 0; i < 10'000; ++i)
        kernels.push_back(make(i, 9000));
    const int full = mapping_count();
    const std::size_t resident = resident_bytes();
    for (std::size_t i = 0; i < kernels.size(); i += 2)
        kernels[i].reset();
    CHECK(mapping_count() <= full);
    if (!sanitized) CHECK(resident_bytes() + 50'000'000 < resident);  // 5,000 kernels of 12 KB
    for (std::size_t i = 0; i < kernels.size(); i += 2)
        kernels[i] = make(static_cast<std::uint32_t>(i), 9000);
    CHECK(mapping_count() <= full + 2);
    int wrong = 0;
    for (std::size_t i = 0; i < kernels.size(); ++i)
        wrong += call(kernels[i]) != static_cast<std::int64_t>(i);
    CHECK(wrong == 0);
}

TEST_CASE("executable memory: mappings and memory stay flat while kernels come and go") {
    std::vector<Memory> alive(200);
    CHECK(churn(2'000, 1, alive) == 0);
    const int mapped = mapping_count();
    const std::size_t resident = resident_bytes();
    CHECK(churn(8'000, 2, alive) == 0);
    CHECK(mapping_count() <= mapped + 10);
    if (!sanitized) CHECK(resident_bytes() < resident + 8'000'000);
}

TEST_CASE("executable memory: a kernel's mapping stays what it is while 1,000 others come and go") {
    const Memory before = make(1, 5000), kernel = make(2, 5000), after = make(3, 5000);
    const Mapping mapping = mapping_at(kernel->bytes().data());
    CHECK(mapping.permissions == "r-xp");
    std::vector<Memory> others(20);
    for (int round = 0; round < 1'000; ++round) {
        others[static_cast<std::size_t>(round) % others.size()] = make(7, 3000);
        const Mapping now = mapping_at(kernel->bytes().data());
        if (now.permissions == mapping.permissions && now.identity == mapping.identity) continue;
        FAIL("round " << round << ": " << now.permissions << ' ' << now.identity);
    }
    CHECK(call(kernel) == 2);
}

TEST_CASE("executable memory: a kernel's code stays readable and runs while neighbours are written") {
    const Memory kernel = make(42, 5000);
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::thread runner([&] {
        while (!stop)
            wrong += call(kernel) != 42;
    });
    std::vector<Memory> alive(50);
    CHECK(churn(2'000, 3, alive) == 0);
    stop = true;
    runner.join();
    CHECK(wrong == 0);
}

TEST_CASE("executable memory: code beyond an arena has one of its own, which goes with it") {
    const int before = mapping_count();
    Memory kernel = make(9, 5 << 20);
    REQUIRE(kernel);
    CHECK(call(kernel) == 9);
    const void* const at = kernel->bytes().data();
    CHECK(mapping_at(at).permissions == "r-xp");
    kernel.reset();
    CHECK(mapping_at(at).permissions != "r-xp");
    CHECK(mapping_count() <= before + 1);
}

TEST_CASE("executable memory: threads make and end kernels at once") {
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 4; ++t)
        threads.emplace_back([&wrong, t] {
            std::vector<Memory> alive(30);
            wrong += churn(500, 10 + t, alive);
        });
    for (std::thread& thread : threads)
        thread.join();
    CHECK(wrong == 0);
}

#ifndef TANDEM_TSAN

namespace {

// Two views, in a process that has `old` from before the refusal, or nothing.
int with_two_views(const Memory& old) {
    const Memory kernel = make(5, 5000);
    EXPECT(kernel && call(kernel) == 5);
    const Mapping mapping = mapping_at(kernel->bytes().data());
    EXPECT(mapping.permissions == "r-xs");
    EXPECT(!old || call(old) == 1);
    EXPECT(writable_and_executable() == 0);
    std::vector<Memory> alive(100);
    EXPECT(churn(1'000, 4, alive) == 0);
    const int mapped = mapping_count();
    const std::size_t resident = resident_bytes();
    EXPECT(churn(2'000, 5, alive) == 0);
    EXPECT(mapping_count() <= mapped + 10);
    EXPECT(sanitized || resident_bytes() < resident + 8'000'000);
    EXPECT(mapping_at(kernel->bytes().data()).identity == mapping.identity);
    EXPECT(call(kernel) == 5);
    return 0;
}

}  // namespace

TEST_CASE("executable memory: where memory may not gain execution, a memfd has two views") {
    const auto refusals = {std::function<bool()>(refuse_exec_gain),
                           std::function<bool()>([] { return refuse(no_exec_by_mprotect); })};
    const Memory old = make(1);
    for (const auto& refusal : refusals) {
        for (const bool late : {false, true}) {
            const int line = result_in_child([&] {
                const Memory own = late ? make(1, 5000) : nullptr;
                if (!refusal()) return 0;  // the kernel does not know it
                EXPECT(call(old) == 1);
                return with_two_views(own);
            });
            CAPTURE(late);
            CHECK(line == 0);
        }
    }
}

TEST_CASE("executable memory: where that is refused too, an Error says so, and what is there still runs") {
    const int line = result_in_child([] {
        const Memory old = make(1, 5000), other = make(2);
        EXPECT(refuse(no_exec_by_mprotect) && refuse(no_exec_by_mmap));
        for (int attempt = 0; attempt < 3; ++attempt) {
            const int mapped = mapping_count();
            const Result<Memory> memory = ExecutableMemory::create(code_returning(3));
            EXPECT(!memory && memory.error().code == ErrorCode::system);
            EXPECT(
                memory.error().message.find("mprotect(PROT_READ | PROT_EXEC) of 6 bytes for generated code "
                                            "failed: Permission denied, and mmap(PROT_READ | PROT_EXEC) of "
                                            "a memfd failed: Operation not permitted; a process that may "
                                            "map executable memory is needed.") != std::string::npos);
            EXPECT(attempt == 0 || mapping_count() == mapped);
        }
        EXPECT(call(old) == 1 && call(other) == 2);
        return 0;
    });
    CHECK(line == 0);
}

TEST_CASE("executable memory: a failure other than a refusal leaves everything as it was") {
    for (const int protection : {PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC}) {
        const int line = result_in_child([protection] {
            std::vector<Memory> alive(20);
            EXPECT(churn(200, 6, alive) == 0);
            // Of three pages only; where both are asked for, the length decides.
            EXPECT(refuse({SYS_mprotect, protection & PROT_EXEC ? 2u : 1u,
                           protection & PROT_EXEC ? std::uint32_t{PROT_EXEC} : 0u, 3 * 4096, ENOMEM}));
            const int mapped = mapping_count();
            for (int attempt = 0; attempt < 100; ++attempt) {
                const Result<Memory> memory = ExecutableMemory::create(code_returning(3, 10'000));
                EXPECT(!memory && memory.error().code == ErrorCode::system);
                EXPECT(memory.error().message.find("Cannot allocate memory") != std::string::npos);
            }
            EXPECT(mapping_count() <= mapped + 2);
            for (const Memory& memory : alive)
                EXPECT(!memory || call(memory) >= 0);
            if (protection & PROT_EXEC) return 0;
            const Memory next = make(8, 5000);
            EXPECT(next && call(next) == 8);
            return 0;
        });
        CAPTURE(protection);
        CHECK(line == 0);
    }
}

TEST_CASE("executable memory: no address space left is an Error; later there is some again") {
    if (sanitized) return;
    const int line = result_in_child([] {
        rlimit limit{};
        EXPECT(getrlimit(RLIMIT_AS, &limit) == 0);
        const rlim_t before = std::exchange(limit.rlim_cur, rlim_t{1} << 20);
        EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
        const Result<Memory> none = ExecutableMemory::create(code_returning(3, 3 << 20));
        limit.rlim_cur = before;
        EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
        EXPECT(!none &&
               (none.error().code == ErrorCode::system || none.error().code == ErrorCode::out_of_memory));
        const Memory memory = make(3, 3 << 20);
        EXPECT(memory && call(memory) == 3);
        return 0;
    });
    CHECK(line == 0);
}

namespace {

/// Parent and child each end what they had in common and make kernels of their own, which reuse its pages
/// where that is possible; neither may notice.
int diverge() {
    std::vector<Memory> common;
    for (std::uint32_t i = 0; i < 50; ++i)
        common.push_back(make(i, 5000));
    int go[2], done[2];
    EXPECT(pipe(go) == 0 && pipe(done) == 0);
    const auto check = [&common](std::uint32_t own) {
        const Memory kept = common[10];
        for (std::size_t i = 0; i < common.size(); i += 2)
            common[i].reset();
        std::vector<Memory> mine;
        for (std::uint32_t i = 0; i < 200; ++i)
            mine.push_back(make(own + i, 5000));
        for (std::uint32_t i = 0; i < mine.size(); ++i)
            EXPECT(mine[i] && call(mine[i]) == own + i);
        for (std::size_t i = 1; i < common.size(); i += 2)
            EXPECT(call(common[i]) == static_cast<std::int64_t>(i));
        EXPECT(call(kept) == 10);
        return 0;
    };
    const pid_t child = fork();
    char byte = 0;
    if (child == 0) {
        const bool woken = read(go[0], &byte, 1) == 1;  // the parent has ended and written its own by now
        bool same = woken;
        for (std::size_t i = 0; i < common.size(); ++i)
            same = same && call(common[i]) == static_cast<std::int64_t>(i);
        byte = static_cast<char>(same && check(2'000) == 0);
        _exit(write(done[1], &byte, 1) == 1 ? 0 : 1);
    }
    EXPECT(check(1'000) == 0);
    EXPECT(write(go[1], "x", 1) == 1 && read(done[0], &byte, 1) == 1);
    EXPECT(byte == 1);
    EXPECT(call(common[11]) == 11 && call(common[49]) == 49);
    return 0;
}

}  // namespace

TEST_CASE("executable memory: a forked child and its parent do not write what the other one runs") {
    for (const bool views : {false, true}) {
        const int line = result_in_child([views] {
            if (views) EXPECT(refuse(no_exec_by_mprotect));
            EXPECT(diverge() == 0);
            return diverge();  // by now with pages that a child knew
        });
        CAPTURE(views);
        CHECK(line == 0);
    }
}

TEST_CASE("executable memory: forks while other threads make and end kernels; all children make their own") {
    for (const bool views : {false, true}) {
        const int line = result_in_child([views] {
            if (views) EXPECT(refuse(no_exec_by_mprotect));
            std::atomic<bool> stop{false};
            std::vector<std::thread> threads;
            for (std::uint64_t t = 0; t < 2; ++t)
                threads.emplace_back([&stop, t] {
                    std::vector<Memory> alive(10);
                    for (std::uint64_t round = 0; !stop; ++round)
                        churn(20, 100 * round + t, alive);
                });
            int failed = 0;
            for (int i = 0; i < 100; ++i)
                failed += result_in_child([] {
                              const Memory memory = make(6, 5000);
                              return memory && call(memory) == 6 ? 0 : 1;
                          }) != 0;
            stop = true;
            for (std::thread& thread : threads)
                thread.join();
            return failed;
        });
        CAPTURE(views);
        CHECK(line == 0);
    }
}

TEST_CASE("executable memory: kernels are made and give the same where memory may not gain execution") {
    const ConvPair pair = *ConvPair::parse("1x20x9x9:dw3+bias+relu6:conv1o24+bias");
    const auto output = [&pair] {
        Context context;
        const auto kernel = context.dispatch(pair);
        if (!kernel) return std::vector<float>();
        GuardedCall guarded(*make_problem(pair), *kernel);
        guarded.clear();
        return guarded.run() ? guarded.output() : std::vector<float>();
    };
    const std::vector<float> expected = output();
    REQUIRE_FALSE(expected.empty());
    const int line = result_in_child([&] {
        EXPECT(refuse_exec_gain() || refuse(no_exec_by_mprotect));
        EXPECT(bitwise_difference(output(), expected).empty());
        return 0;
    });
    CHECK(line == 0);
}

#endif
