// A team of threads that share the work on one network. The pieces of work do not depend on the
// number of threads, so the results do not either.
//
// A core reads data that another core has written at a tenth of the speed of its own data. So the
// leading thread takes pieces from the last down, and helping threads from the first up: a piece
// mostly runs on the core that ran it before.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace xbarjax {

class Team {
 public:
  // `size`: largest number of threads.
  explicit Team(int size = 1) : size_(size) {}
  int size() const { return size_; }

  // Runs `work(k, member)` for every `k` below `pieces`, on this thread and on the helping threads.
  // `member` numbers the threads, from 0. Returns when all pieces are done.
  template <class Work>
  void each(int pieces, const Work& work) {
    if (size_ == 1 || pieces == 1) {
      for (int k = 0; k < pieces; ++k) work(k, 0);
      return;
    }
    work_ = [](const void* of, int k, int member) { (*static_cast<const Work*>(of))(k, member); };
    of_ = &work;
    left_.store(pieces, std::memory_order_relaxed);
    round_ = (round_ + 1) % ROUNDS;
    ticket_.store(round_ * ROUND + uint64_t(pieces), std::memory_order_release);
    while (one(0)) {}
    for (int spins = 0; left_.load(std::memory_order_acquire) != 0; ++spins) wait(spins);
  }

  // Takes pieces on the calling thread until `close`.
  void help() {
    const int member = members_.fetch_add(1);
    if (member >= size_) return;
    for (int spins = 0; !closed_.load(std::memory_order_acquire); ++spins)
      if (one(member)) spins = 0;
      else wait(spins);
  }
  void close() { closed_.store(true, std::memory_order_release); }

 private:
  // A ticket packs the number of the round, the first piece not yet taken, and the end of these
  // pieces into one word. So a taken piece belongs to the round of its ticket, and a round does not
  // end before its pieces are done.
  static constexpr uint64_t FIRST = uint64_t(1) << 20, ROUND = FIRST * FIRST;
  static constexpr uint64_t ROUNDS = uint64_t(1) << 24;

  // Takes one piece and runs it. False if no piece is left.
  bool one(int member) {
    uint64_t seen = ticket_.load(std::memory_order_acquire);
    for (;;) {
      const uint64_t begin = seen / FIRST % FIRST, end = seen % FIRST;
      if (begin == end) return false;
      const bool leads = member == 0;
      if (ticket_.compare_exchange_weak(seen, leads ? seen - 1 : seen + FIRST,
                                        std::memory_order_acq_rel)) {
        work_(of_, int(leads ? end - 1 : begin), member);
        left_.fetch_sub(1, std::memory_order_acq_rel);
        return true;
      }
    }
  }

  static void wait(int spins) {
    if (spins > 4000) {
      std::this_thread::yield();
      return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  int size_;
  uint64_t round_ = 0;
  void (*work_)(const void*, int, int) = nullptr;
  const void* of_ = nullptr;
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int> left_{0}, members_{1};
  std::atomic<bool> closed_{false};
};

}  // namespace xbarjax
