// Registers leased by name.
#include "jit/reg_pool.hpp"

#include "support/doctest.hpp"

#include <set>
#include <stdexcept>

using namespace tandem::jit;

TEST_CASE("register pool: general-purpose registers are all but rsp, each once") {
    RegPool pool = RegPool::general_purpose();
    CHECK(pool.available() == 15);
    std::vector<RegPool::Lease> leases;
    std::set<int> indices;
    for (int i = 0; i < 15; ++i) {
        leases.push_back(pool.lease("number " + std::to_string(i)));
        indices.insert(leases.back().index());
    }
    CHECK(indices.size() == 15);
    CHECK(indices.count(Xbyak::Operand::RSP) == 0);
    CHECK(pool.available() == 0);
}

TEST_CASE("register pool: running out names who asked and who holds") {
    RegPool pool({3, 5});
    const auto input = pool.lease("input row");
    const auto output = pool.lease("output row");
    std::string message;
    try {
        const auto third = pool.lease("panel");
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    CHECK(message == "no register is left for 'panel'; held by 'input row' 'output row'");
}

TEST_CASE("register pool: a lease gives back at its end, once, wherever it was moved") {
    RegPool pool({3, 5});
    {
        auto lease = pool.lease("counter");
        CHECK(lease.index() == 5);
        const RegPool::Lease moved = std::move(lease);
        CHECK(moved.index() == 5);
        CHECK(pool.available() == 1);
    }
    CHECK(pool.available() == 2);
    const auto again = pool.lease("another");
    CHECK(again.index() == 5);
    CHECK(static_cast<Gpr>(again).getIdx() == 5);
}

TEST_CASE("register pool: running out while emitting is an error sentence") {
    const auto code = emit_code([](CodeBlock&) {
        RegPool pool({1});
        const auto held = pool.lease("input row 7");
        const auto more = pool.lease("output row 2");
    });
    REQUIRE_FALSE(code.ok());
    CHECK(code.error().message.find("'input row 7'") != std::string::npos);
    CHECK(code.error().message.find("'output row 2'") != std::string::npos);
}
