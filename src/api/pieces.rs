//! Large answers, a piece at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

/// How much of an answer is copied for its connection at a time, in bytes.
pub const PIECE: usize = 16 * 1024;

/// A body of any length. Actix copies bodies into a buffer of the connection, which stays as large as
/// the largest has made it (up to 128 KiB); in pieces, thousands of clients that have read a page
/// once do not fill the memory.
pub(super) struct Pieces(pub(super) Bytes);

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.0.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let length = self.0.len().min(PIECE);
        let piece = self.0.split_to(length);
        Poll::Ready((length > 0).then_some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn the_pieces_are_the_whole() {
        for length in [0, 1, PIECE, PIECE + 1, 3 * PIECE] {
            let whole: Bytes = (0..=u8::MAX).cycle().take(length).collect();
            let mut pieces = Pieces(whole.clone());
            assert_eq!(pieces.size(), BodySize::Sized(length.try_into().unwrap()));
            let mut seen = Vec::new();
            while let Some(Ok(piece)) =
                std::future::poll_fn(|cx| Pin::new(&mut pieces).poll_next(cx)).await
            {
                assert!((1..=PIECE).contains(&piece.len()));
                seen.extend_from_slice(&piece);
            }
            assert_eq!(seen, whole);
            // Who could have it whole would send it whole.
            assert!(Pieces(whole).try_into_bytes().is_err());
        }
    }
}
