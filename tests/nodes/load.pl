# Sends requests from several processes until it receives SIGTERM, then prints the totals as one line of JSON.
#
#   load.pl HOST PORT CLIENTS PAUSE_MS
#
# It needs only the modules of Debian's perl-base, so that it runs in the image of PostgreSQL. Each client creates an
# order and then reads it, and uses a connection for up to 100 requests. Anything but the expected status within ten
# seconds is a failure, also on a connection that was used before: the service announces the end of a connection.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time sleep);

my ($host, $port, $clients, $pause_ms) = @ARGV;
my $packed = gethostbyname($host) or die "$host: unknown host\n";
my $address = join '.', unpack 'C4', $packed;
my $stopped = 0;
my $directory = $ENV{LOAD_DIRECTORY} // '/tmp';

# Returns (status, body, whether the connection stays open), or dies with the reason.
sub exchange {
    my ($socket, $text) = @_;
    my $deadline = time + 10;
    my $sent = syswrite $socket, $text;
    die "write: $!\n" unless defined $sent && $sent == length $text;
    my ($data, $end, $length) = ('', -1, 0);
    while ($end < 0 || length($data) < $end + $length) {
        my $left = $deadline - time;
        die "timeout\n" if $left <= 0;
        next unless IO::Select->new($socket)->can_read($left);
        my $count = sysread $socket, $data, 65536, length $data;
        next if !defined $count && $!{EINTR};
        die "read: $!\n" unless defined $count;
        die($data eq '' ? "closed without a response\n" : "closed within a response\n") unless $count;
        if ($end < 0 && (my $at = index $data, "\r\n\r\n") >= 0) {
            $end = $at + 4;
            $length = substr($data, 0, $end) =~ /^content-length: *(\d+)/im ? $1 : 0;
        }
    }
    my $head = substr $data, 0, $end;
    my ($status) = $head =~ m{^HTTP/1\.1 (\d+)};
    return ($status, substr($data, $end), $head !~ /^connection: *close/im);
}

sub client {
    my ($number) = @_;
    my ($requests, $longest, $used, $socket, $path, %failures) = (0, 0, 0);
    my $body = '{"product_id":"load","quantity":1}';
    until ($stopped) {
        my $get = defined $path;
        my $began = time;
        my $created = eval {
            unless ($socket) {
                $socket = IO::Socket::INET->new(PeerAddr => $address, PeerPort => $port, Timeout => 5)
                    or die "connect: $@\n";
                $used = 0;
            }
            my $text = $get
                ? "GET $path HTTP/1.1\r\nHost: $host\r\n\r\n"
                : "POST /api/v1/orders HTTP/1.1\r\nHost: $host\r\nIdempotency-Key: $$-$number-$requests-$began\r\n"
                . "Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
            my ($status, $response, $open) = exchange($socket, $text);
            undef $socket if !$open || ++$used >= 100;
            # The type of the problem (RFC 9457) is the reason.
            die "status $status " . ($response =~ /"type":"([^"]+)"/ ? $1 : '') . "\n"
                unless $status == ($get ? 200 : 201);
            !$get && $response =~ /"id":"([^"]+)"/ ? "/api/v1/orders/$1" : undef;
        };
        $requests++;
        my $took = time - $began;
        $longest = $took if $took > $longest;
        if (my $reason = $@) {
            chomp $reason;
            $failures{$reason =~ s/"/'/gr}++;
            undef $socket;
            undef $path;
            sleep 0.05;
        } else {
            $path = $created;
        }
        sleep $pause_ms / 1000 if $pause_ms;
    }
    open my $out, '>', "$directory/$number" or die "$directory/$number: $!";
    print $out join("\n", $requests, $longest, map { "$failures{$_} $_" } sort keys %failures), "\n";
    close $out;
}

my @children;
for my $number (1 .. $clients) {
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $SIG{TERM} = sub { $stopped = 1 };
        client($number);
        exit 0;
    }
    push @children, $pid;
}
$SIG{TERM} = sub { $stopped = 1 };
$| = 1;
print "started\n";
sleep 1 until $stopped;
kill TERM => @children;
waitpid $_, 0 for @children;
my ($requests, $longest, %failures) = (0, 0);
for my $number (1 .. $clients) {
    open my $in, '<', "$directory/$number" or die "client $number ended early\n";
    my ($count, $slowest, @reasons) = map { chomp; $_ } <$in>;
    $requests += $count;
    $longest = $slowest if $slowest > $longest;
    /^(\d+) (.*)/ and $failures{$2} += $1 for @reasons;
}
printf qq({"requests":%d,"longest_s":%.3f,"failures":{%s}}\n), $requests, $longest,
    join ',', map { qq("$_":$failures{$_}) } sort keys %failures;
