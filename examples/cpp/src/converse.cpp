#include <iostream>
#include <iterator>

#include "answer.h"
#include "demos.h"
#include "failure.h"
#include "messages.h"
#include "reading.h"

using namespace marsys::v1;

namespace {

const char* const kQuestions[] = {"Write a very long story about a ship.",
                                  "What is the capital of France?"};

using Stream = grpc::ClientReaderWriter<ConverseRequest, ConverseResponse>;

// The conversation, seen from its one thread: it reads, and says something now and then. (Another
// thread may write meanwhile, one at a time.)
class Conversation {
 public:
  explicit Conversation(Stream& stream) : stream_(stream) {}

  void open(const std::string& model) {
    ConverseRequest request;
    *request.mutable_open()->mutable_template_() = request_of(model);
    stream_.Write(request);
  }

  // Takes what the service says, and says what comes next.
  void take(const ConverseResponse& response) {
    switch (response.output_case()) {
      case ConverseResponse::kOpened:
        std::cout << "opened: " << response.opened().conversation_id() << std::endl;
        ask();
        break;
      case ConverseResponse::kTurnEvents:
        take(response.turn_events());
        break;
      case ConverseResponse::kTurnFailed:
        throw std::runtime_error("turn " + std::to_string(response.turn_failed().turn()) +
                                 " failed\n" + describe(response.turn_failed().error()));
      case ConverseResponse::kGoingAway:
        throw std::runtime_error("the service shuts down: open the conversation again elsewhere");
      default:
        break;
    }
  }

  bool over() const { return over_; }

 private:
  void take(const TurnEvents& turn) {
    const bool silent = !answer_.begun();
    for (const auto& event : turn.events()) answer_.feed(event);
    if (turn.turn() == 1 && silent && answer_.begun()) interrupt(turn.turn());
    if (!answer_.finish_reason()) return;
    std::cout << "turn " << turn.turn() << ": " << FinishReason_Name(*answer_.finish_reason())
              << std::endl;
    answer_ = Answer();
    if (asked_ < std::size(kQuestions)) {
      ask();
    } else {
      over_ = true;
      stream_.WritesDone();
    }
  }

  void ask() {
    ConverseRequest request;
    *request.mutable_turn()->add_messages() = user_message(kQuestions[asked_++]);
    stream_.Write(request);
  }

  void interrupt(int turn) {
    ConverseRequest request;
    request.mutable_interrupt()->set_turn(turn);
    stream_.Write(request);
  }

  Stream& stream_;
  Answer answer_;
  std::size_t asked_ = 0;
  bool over_ = false;
};

}  // namespace

void converse(Client& client, const std::string& model) {
  grpc::ClientContext context;
  prepare(context, std::chrono::seconds(300));
  auto stream = client.Converse(&context);
  Conversation conversation(*stream);
  conversation.open(model);  // a write that fails says so at Finish
  read_all<ConverseResponse>(context, *stream,
                             [&](const auto& response) { conversation.take(response); });
  if (!conversation.over()) throw std::runtime_error("the conversation ended early");
}
