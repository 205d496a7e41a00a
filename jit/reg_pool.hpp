// RegPool: registers leased by name. A lease returns its register when it goes out of scope; running out
// throws with the names of the holders, which emit_code() turns into an error sentence.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "jit/code_block.hpp"

namespace tandem::jit {

class RegPool {
public:
    explicit RegPool(std::vector<int> indices) : free_(std::move(indices)) {}
    /// General-purpose registers but rsp, in the order in which they are leased.
    static RegPool general_purpose();

    class Lease {
    public:
        Lease(RegPool& pool, int index) : pool_(&pool), index_(index) {}
        Lease(Lease&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), index_(other.index_) {}
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;
        Lease& operator=(Lease&&) = delete;
        ~Lease() {
            if (pool_) pool_->give_back(index_);
        }
        int index() const noexcept { return index_; }
        operator Gpr() const { return Gpr(index_); }

    private:
        RegPool* pool_;
        int index_;
    };

    [[nodiscard]] Lease lease(std::string name);
    std::size_t available() const noexcept { return free_.size(); }

private:
    void give_back(int index);
    std::vector<int> free_;
    std::vector<std::pair<int, std::string>> held_;
};

}  // namespace tandem::jit
